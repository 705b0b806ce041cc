//! Scratch.
use std::time::*;
use tilewise::baseline::*;
use tilewise::timing::*;
use tilewise::*;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let v: Vec<f64> =
        s.rsplit(')').next().unwrap().split_whitespace().map(|x| x.parse().unwrap_or(0.0)).collect();
    (v[11] + v[12]) * 0.01
}
fn main() {
    let gpu = Gpu::request_blocking().unwrap();
    for (m, n, k, t) in
        [(512, 1024, 1024, true), (512, 1024, 1024, false), (2048, 2048, 64, true), (2048, 64, 2048, false)]
    {
        let mut spec = MatmulSpec::new(DType::F32, m, n, k);
        if t {
            spec = spec.b_transposed()
        }
        let mm = Matmul::new(&gpu, spec).unwrap();
        let [a, b, c] =
            [m * k, n * k, m * n].map(|s| Tensor::<f32>::from_slice(&gpu, &[s], &vec![1.0; s]).unwrap());
        let kern = {
            let mut e = gpu.encoder();
            mm.encode(&mut e, &a, &b, &c).unwrap();
            gpu.submit(e).unwrap();
            gpu.wait().unwrap();
        };
        let _ = kern;
        let c0 = cpu();
        let t = measure(&gpu, Effort { warm_up: 1, runs: 5, budget: Duration::from_secs(20) }, |e| {
            mm.encode(e, &a, &b, &c)
        })
        .unwrap()
        .median();
        let cp = (cpu() - c0) / 6.0;
        println!(
            "cpu {:.0} ms = {:.1} GFLOP/s on 2; {m}x{n}x{k} {t:?} {:.2} GFLOP/s {}",
            cp * 1e3,
            spec.flops() / cp * 2.0 / 1e9,
            spec.flops() / t.as_secs_f64() / 1e9,
            mm.plan()
        );
    }
}
