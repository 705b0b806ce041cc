// Pictures of 64 × 64 grey values from 0 to 1.

export const SIDE = 64;

/** A picture painted here, so that the page fetches none. */
export function painted(): Float32Array {
  const paint = context();
  const sky = paint.createLinearGradient(0, 0, 0, SIDE);
  sky.addColorStop(0, '#9ab');
  sky.addColorStop(1, '#eee');
  paint.fillStyle = sky;
  paint.fillRect(0, 0, SIDE, SIDE);
  paint.fillStyle = '#fff';
  paint.beginPath();
  paint.arc(47, 14, 8, 0, 2 * Math.PI);
  paint.fill();
  const hill = (colour: string, points: [number, number][]) => {
    paint.fillStyle = colour;
    paint.beginPath();
    paint.moveTo(0, SIDE);
    for (const [x, y] of points) paint.lineTo(x, y);
    paint.lineTo(SIDE, SIDE);
    paint.fill();
  };
  hill('#678', [[0, 40], [18, 20], [34, 42], [48, 30], [64, 44]]);
  hill('#345', [[0, 50], [20, 42], [44, 52], [64, 46]]);
  paint.fillStyle = '#ddd';
  paint.fillRect(12, 40, 16, 14);
  paint.fillStyle = '#511';
  paint.beginPath();
  paint.moveTo(9, 41);
  paint.lineTo(20, 31);
  paint.lineTo(31, 41);
  paint.fill();
  paint.fillStyle = '#222';
  paint.fillRect(17, 46, 5, 8);
  return grey(paint);
}

/** A file of the visitor's, cut to a square. */
export async function opened(file: File): Promise<Float32Array> {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const paint = context();
  paint.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  bitmap.close();
  return grey(paint);
}

function context(): CanvasRenderingContext2D {
  const canvas = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE });
  const found = canvas.getContext('2d', { willReadFrequently: true });
  if (!found) throw new Error('this browser gives no 2D canvas');
  return found;
}

function grey(paint: CanvasRenderingContext2D): Float32Array {
  const { data } = paint.getImageData(0, 0, SIDE, SIDE);
  return Float32Array.from({ length: SIDE * SIDE }, (_, i) => {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3) as unknown as [number, number, number];
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  });
}

/** Draws values from 0 to 1. */
export function show(canvas: HTMLCanvasElement, values: ArrayLike<number>): void {
  const image = new ImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) {
    image.data.fill(255 * Math.min(Math.max(values[i] ?? 0, 0), 1), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext('2d')?.putImageData(image, 0, 0);
}

/** Normal noise of that deviation, the same at every visit (mulberry32, Box and Muller). */
export function noisy(picture: Float32Array, deviation: number): Float32Array {
  let state = 1;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return picture.map((value) => value + deviation * normal());
}

/** How near a picture is to another: the peak signal-to-noise ratio in decibels. */
export function decibels(picture: ArrayLike<number>, other: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < picture.length; i++) sum += ((picture[i] ?? 0) - (other[i] ?? 0)) ** 2;
  return -10 * Math.log10(Math.max(sum / picture.length, 1e-12));
}
