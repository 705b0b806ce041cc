//! Shader files packed for browsers, which download them: a third is gone of what gzip would leave of them.
//!
//! Each bit is predicted from the bytes before it, in several contexts at once whose predictions are mixed by a small
//! network that learns as it goes, and coded in as much of a bit as it surprises (arithmetic coding; Mahoney, "Adaptive
//! weighing of context models for lossless data compression", 2005). Both directions are the same model. It knows integers
//! alone, so that it says the same on every machine. It may have read another text before, which both directions know.
//!
//! The build script packs, with this same file; a page unpacks.

/// Slots of a context's table, as a power of two.
const SLOTS: u32 = 17;

/// Contexts: one, two and three bytes before, and the word that has begun.
const CONTEXTS: usize = 4;

/// Bytes that find an earlier place to go on from.
const MATCH: usize = 6;

/// A probability of a one in 16 bits, and how often it was corrected.
#[derive(Clone, Copy)]
struct Chance {
    one: u16,
    seen: u8,
}

impl Chance {
    const NEW: Self = Self { one: 1 << 15, seen: 0 };

    fn learn(&mut self, bit: bool, memory: u8) {
        let target = if bit { 0xffff } else { 0 };
        let step = (target - i32::from(self.one)) * 2 / (2 * i32::from(self.seen) + 3);
        self.one = (i32::from(self.one) + step) as u16;
        self.seen = memory.min(self.seen + 1);
    }
}

/// The logistic function, from 1/256 units to 12 bits, at every 128th place.
const LOGISTIC: [i32; 33] = [
    1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785,
    3901, 3975, 4024, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094,
];

fn logistic(x: i32) -> i32 {
    let x = x.clamp(-2047, 2047) + 2048;
    let (place, part) = ((x >> 7) as usize, x & 127);
    (LOGISTIC[place] * (128 - part) + LOGISTIC[place + 1] * part + 64) >> 7
}

/// Predicts the bits of a text from those before them.
struct Model {
    /// The inverse of [`logistic`].
    logits: Vec<i16>,
    /// For each context, chances by its hash and the bits of the byte so far.
    tables: Vec<Chance>,
    /// For each value of a byte's bits so far, how far each prediction is trusted.
    weights: Vec<[i32; CONTEXTS + 1]>,
    /// Where bytes of a hash were last followed by others.
    places: Vec<usize>,
    /// How likely it is that what followed earlier follows again, by how long it has.
    repeats: [Chance; 32],
    text: Vec<u8>,
    hashes: [u32; CONTEXTS],
    word: u32,
    /// The place that the text repeats, and for how long it has.
    earlier: usize,
    length: usize,
    /// The bits of the byte so far, after a one.
    bits: u32,
    slots: [usize; CONTEXTS],
    inputs: [i32; CONTEXTS + 1],
    chance: i32,
}

fn mixed(hash: u32, value: u32) -> u32 {
    let hash = (hash ^ value).wrapping_mul(0x85eb_ca6b);
    hash ^ hash >> 13
}

impl Model {
    fn new() -> Self {
        let mut logits = vec![2047; 4096];
        let mut next = 0;
        for x in -2047..=2047 {
            let end = logistic(x) as usize + 1;
            logits[next..end.max(next)].fill(x as i16);
            next = end.max(next);
        }
        let mut model = Self {
            logits,
            tables: vec![Chance::NEW; CONTEXTS << SLOTS],
            weights: vec![[20_000; CONTEXTS + 1]; 256],
            places: vec![0; 1 << 16],
            repeats: [Chance::NEW; 32],
            text: vec![],
            hashes: [0; CONTEXTS],
            word: 0,
            earlier: 0,
            length: 0,
            bits: 1,
            slots: [0; CONTEXTS],
            inputs: [0; CONTEXTS + 1],
            chance: 0,
        };
        model.predict();
        model
    }

    fn logit(&self, chance: Chance) -> i32 {
        i32::from(self.logits[usize::from(chance.one >> 4)])
    }

    /// The bit that followed earlier, while the text repeats something.
    fn expected(&self) -> Option<bool> {
        let byte = u32::from(*self.text.get(self.earlier).filter(|_| self.length > 0)?) | 256;
        let known = self.bits.ilog2();
        (byte >> (8 - known) == self.bits).then_some(byte >> (7 - known) & 1 == 1)
    }

    fn predict(&mut self) {
        for context in 0..CONTEXTS {
            let hash = (self.hashes[context] ^ self.bits.wrapping_mul(0x9e37_79b1)).wrapping_mul(0x2c1b_3c6d);
            let slot = context << SLOTS | (hash >> (32 - SLOTS)) as usize;
            let chance = self.tables[slot];
            self.slots[context] = slot;
            self.inputs[context] = if chance.seen == 0 { 0 } else { self.logit(chance) };
        }
        let again = self.logit(self.repeats[self.length.min(31)]);
        self.inputs[CONTEXTS] = self.expected().map_or(0, |bit| if bit { again } else { -again });
        let weights = &self.weights[self.bits as usize];
        let sum: i64 = self
            .inputs
            .iter()
            .zip(weights)
            .map(|(&input, &weight)| i64::from(input) * i64::from(weight))
            .sum();
        self.chance = logistic((sum >> 16).clamp(-2047, 2047) as i32).clamp(1, 4095);
    }

    fn learn(&mut self, bit: bool) {
        let error = ((i32::from(bit) << 12) - self.chance) * 24;
        for (weight, input) in self.weights[self.bits as usize].iter_mut().zip(self.inputs) {
            *weight += (input * error + 0x8000) >> 16;
        }
        for slot in self.slots {
            self.tables[slot].learn(bit, 20);
        }
        if let Some(expected) = self.expected() {
            self.repeats[self.length.min(31)].learn(bit == expected, 250);
            if bit != expected {
                self.length = 0;
            }
        }
        self.bits = self.bits << 1 | u32::from(bit);
        if self.bits >= 256 {
            self.end_byte(self.bits as u8);
        }
        self.predict();
    }

    fn end_byte(&mut self, byte: u8) {
        self.bits = 1;
        self.text.push(byte);
        let is_of_word = byte.is_ascii_alphanumeric() || byte == b'_';
        self.word = if is_of_word { mixed(self.word, u32::from(byte) + 1) } else { 0 };
        if self.length > 0 {
            self.earlier += 1;
            self.length += 1;
        }
        let before = |count| {
            self.text.iter().rev().take(count).fold(count as u32, |hash, &byte| mixed(hash, u32::from(byte)))
        };
        if self.text.len() >= MATCH {
            let place = &mut self.places[(before(MATCH) >> 16) as usize];
            if self.length == 0 && *place > 0 {
                (self.earlier, self.length) = (*place, 1);
            }
            *place = self.text.len();
        }
        self.hashes = [before(1), before(2), before(3), mixed(self.word, 9)];
    }

    /// A model that has read a text.
    fn after(text: &[u8]) -> Self {
        let mut model = Self::new();
        for byte in text {
            for bit in bits(*byte) {
                model.learn(bit);
            }
        }
        model
    }
}

/// The bits of a byte, the highest first.
fn bits(byte: u8) -> impl Iterator<Item = bool> {
    (0..8).rev().map(move |place| byte >> place & 1 == 1)
}

/// The interval that is left of all codes.
struct Interval {
    low: u32,
    high: u32,
}

impl Interval {
    /// Its part for a one is below this.
    fn split(&self, chance: i32) -> u32 {
        self.low + ((u64::from(self.high - self.low) * chance as u64) >> 12) as u32
    }

    fn narrow(&mut self, bit: bool, split: u32) {
        if bit { self.high = split } else { self.low = split + 1 }
    }

    /// Whether its ends begin with the same byte, which is then left out.
    fn shift(&mut self) -> Option<u8> {
        let first = (self.low >> 24) as u8;
        (self.high >> 24 == self.low >> 24).then(|| {
            (self.low, self.high) = (self.low << 8, self.high << 8 | 255);
            first
        })
    }
}

/// Packs a text, which may resemble one that was there before.
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "the build script packs"))]
pub fn pack(text: &[u8], before: &[u8]) -> Vec<u8> {
    let mut packed = (text.len() as u32).to_le_bytes().to_vec();
    let (mut model, mut interval) = (Model::after(before), Interval { low: 0, high: u32::MAX });
    for bit in text.iter().copied().flat_map(bits) {
        interval.narrow(bit, interval.split(model.chance));
        model.learn(bit);
        packed.extend(std::iter::from_fn(|| interval.shift()));
    }
    packed.extend(interval.high.to_be_bytes());
    packed
}

/// The text that was packed, after the same one before.
#[allow(dead_code, reason = "the build script only packs")]
pub fn unpack(packed: &[u8], before: &[u8]) -> Vec<u8> {
    let (length, code) = packed.split_at(4);
    let length = before.len() + u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let (mut model, mut interval) = (Model::after(before), Interval { low: 0, high: u32::MAX });
    let mut rest = code.iter();
    let mut next = || u32::from(rest.next().copied().unwrap_or(0));
    let mut code = (0..4).fold(0, |code, _| code << 8 | next());
    while model.text.len() < length {
        let split = interval.split(model.chance);
        let bit = code <= split;
        interval.narrow(bit, split);
        model.learn(bit);
        while interval.shift().is_some() {
            code = code << 8 | next();
        }
    }
    model.text.split_off(before.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::FILES;

    #[test]
    fn what_was_packed_is_unpacked() {
        let files: String = FILES.iter().map(|(_, text)| *text).collect();
        let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
        for text in [files.as_bytes(), &noise, b"", b"a", &[0; 1000]] {
            for before in [&b""[..], b"fn main() {}", &files.as_bytes()[..20_000]] {
                assert_eq!(unpack(&pack(text, before), before), text);
            }
        }
        // gzip takes a quarter of one in nine of them; all together they resemble each other more.
        let packed = pack(files.as_bytes(), &[]).len();
        assert!(packed * 9 < files.len() * 2, "{packed} of {}", files.len());
    }
}
