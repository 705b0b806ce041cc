//! wgpu's noop backend poses as the machines that are not here: limits, pipelines, bindings and dispatches are
//! checked as far as validation goes, and nothing is computed.

mod attention;
mod butterfly;
mod scan;

use attention::attention;
use half::f16;
use scan::linear_scan;
use tilewise::caps::{Caps, PROFILES, Profile};
use tilewise::{
    AttentionSpec, DType, Element, Error, Gpu, GpuOptions, LinearScan, LinearScanInputs, LinearScanSpec,
    LongConv, LongConvBackward, LongConvInputs, LongConvSpec, Tensor, wgpu,
};

/// A GPU with exactly the capabilities of a profile.
fn pose(profile: &Profile) -> Gpu {
    let caps = profile.caps;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        enable: true,
        limits: Some(limits(caps)),
        features: Some(features(caps)),
        device_type: None,
        subgroup_min_size: caps.subgroups.map(|sizes| sizes.min),
        subgroup_max_size: caps.subgroups.map(|sizes| sizes.max),
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    pollster::block_on(Gpu::open(&adapter, GpuOptions::default())).unwrap()
}

fn limits(caps: &Caps) -> wgpu::Limits {
    wgpu::Limits {
        max_compute_workgroup_storage_size: caps.workgroup_bytes,
        max_compute_invocations_per_workgroup: caps.workgroup_lanes,
        max_compute_workgroup_size_x: caps.workgroup_lanes,
        max_compute_workgroups_per_dimension: caps.groups_per_dim,
        max_storage_buffers_per_shader_stage: caps.storage_buffers,
        max_storage_buffer_binding_size: caps.binding_bytes,
        max_buffer_size: caps.buffer_bytes,
        ..wgpu::Limits::defaults()
    }
}

fn features(caps: &Caps) -> wgpu::Features {
    let when = |on: bool, features: wgpu::Features| if on { features } else { wgpu::Features::empty() };
    when(caps.f16, wgpu::Features::SHADER_F16)
        | when(caps.subgroups.is_some(), wgpu::Features::SUBGROUP)
        | when(
            caps.timestamps,
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS,
        )
}

fn zeros<T: Element>(gpu: &Gpu, shape: &[usize]) -> Tensor<T> {
    Tensor::zeros(gpu, shape).unwrap()
}

#[test]
fn every_profile_creates_and_encodes_every_family() {
    for profile in PROFILES {
        let gpu = pose(profile);
        // The noop backend has neither matrices nor llvmpipe's compiler.
        let Caps { matrices, loop_turns, joint_barriers, .. } = profile.caps.clone();
        let posed = Caps { matrices, loop_turns, joint_barriers, ..gpu.caps().clone() };
        assert_eq!(posed, *profile.caps, "{} poses as itself", profile.name);
        attention::run_all(&gpu);
        butterfly::run_all(&gpu);
        scan::run_all(&gpu);
        gpu.wait().unwrap_or_else(|error| panic!("{}: {error}", profile.name));
    }
}

#[test]
fn a_new_length_compiles_nothing() {
    let gpu = pose(&PROFILES[0]);
    linear_scan::<f32>(&gpu, LinearScanSpec::new(DType::F32, 1, 8, 100_000));
    let compiled = gpu.kernels_compiled();
    linear_scan::<f32>(&gpu, LinearScanSpec::new(DType::F32, 2, 3, 123_456));
    assert_eq!(gpu.kernels_compiled(), compiled);

    scan::long_conv::<f32>(&gpu, LongConvSpec::new(DType::F32, 1, 8, 300));
    let compiled = gpu.kernels_compiled();
    scan::long_conv::<f32>(&gpu, LongConvSpec::new(DType::F32, 2, 3, 260));
    assert_eq!(gpu.kernels_compiled(), compiled);
    scan::long_conv::<f32>(&gpu, LongConvSpec::new(DType::F32, 1, 2, 10_000));
    let compiled = gpu.kernels_compiled();
    scan::long_conv::<f32>(&gpu, LongConvSpec::new(DType::F32, 2, 3, 200_000));
    assert_eq!(gpu.kernels_compiled(), compiled);

    let spec = AttentionSpec::new(DType::F32, 1, (1000, 1000), 4, 64);
    attention::<f32>(&gpu, spec);
    let compiled = gpu.kernels_compiled();
    attention::<f32>(
        &gpu,
        AttentionSpec { q_len: 777, k_len: 1234, heads: 6, kv_heads: 3, ..spec }.window(Some(9), None),
    );
    assert_eq!(gpu.kernels_compiled(), compiled);
}

#[test]
fn more_rows_than_a_dispatch_dimension_are_folded() {
    let gpu = pose(&PROFILES[0]);
    linear_scan::<f32>(&gpu, LinearScanSpec::new(DType::F32, 3, 65_535, 2));
    gpu.wait().unwrap();
}

#[test]
fn tensors_that_do_not_match_the_spec_are_refused_with_numbers() {
    let gpu = pose(&PROFILES[0]);
    let spec = LinearScanSpec::new(DType::F32, 2, 3, 50);
    let scan = LinearScan::new(&gpu, spec).unwrap();
    let good = zeros::<f32>(&gpu, &[2, 3, 50]);
    let state = zeros::<f32>(&gpu, &[2, 3]);

    let short = zeros::<f32>(&gpu, &[2, 3, 49]);
    let error = scan.run(LinearScanInputs { a: &short, b: &good, initial: None }).unwrap_err();
    assert_eq!(error.to_string(), "a has shape [2, 3, 49], expected [2, 3, 50]");

    let half = zeros::<f16>(&gpu, &[2, 3, 50]);
    let error = scan.run(LinearScanInputs { a: &half, b: &half, initial: None }).unwrap_err();
    assert_eq!(error.to_string(), "a holds f16, expected f32");

    let error = scan.run(LinearScanInputs { a: &good, b: &good, initial: Some(&state) }).unwrap_err();
    assert_eq!(error.to_string(), "the initial state is given, but the spec has no use for it");

    let scan = LinearScan::new(&gpu, spec.initial()).unwrap();
    let error = scan.run(LinearScanInputs { a: &good, b: &good, initial: None }).unwrap_err();
    assert_eq!(error.to_string(), "the initial state is missing, but the spec needs it");

    let error = Tensor::<f32>::from_slice(&gpu, &[2, 3], &[0.0; 5]).unwrap_err();
    assert_eq!(error.to_string(), "5 elements do not fill shape [2, 3], which has 6");

    let error = Tensor::<f32>::zeros(&gpu, &[1 << 29]).unwrap_err();
    assert!(error.to_string().starts_with("cannot allocate 2 GiB for a f32 tensor"), "{error}");
    let error = Tensor::<f32>::zeros(&gpu, &[usize::MAX, 2]).unwrap_err();
    assert!(error.to_string().contains("has too many elements"), "{error}");
}

#[test]
fn convolutions_of_mixed_lengths_are_refused_with_numbers() {
    let gpu = pose(&PROFILES[0]);
    let spec = LongConvSpec::new(DType::F32, 2, 3, 50).skip();
    let (conv, backward) = (LongConv::new(&gpu, spec).unwrap(), LongConvBackward::new(&gpu, spec).unwrap());
    let (u, k, skip) =
        (zeros::<f32>(&gpu, &[2, 3, 50]), zeros::<f32>(&gpu, &[3, 50]), zeros::<f32>(&gpu, &[3]));
    let good = LongConvInputs { u: &u, k: &k, skip: Some(&skip), pre: None, post: None };
    let short = zeros::<f32>(&gpu, &[3, 49]);
    let refused = |inputs| {
        let error = conv.run(inputs).unwrap_err().to_string();
        assert_eq!(backward.run(inputs, &u).unwrap_err().to_string(), error);
        error
    };
    assert_eq!(refused(LongConvInputs { k: &short, ..good }), "k has shape [3, 49], expected [3, 50]");
    assert_eq!(refused(LongConvInputs { skip: Some(&short), ..good }), "D has shape [3, 49], expected [3]");
    assert_eq!(refused(LongConvInputs { skip: None, ..good }), "D is missing, but the spec needs it");
    assert_eq!(
        refused(LongConvInputs { pre: Some(&u), ..good }),
        "the gate of u is given, but the spec has no use for it"
    );
    let error = backward.run(good, &zeros::<f32>(&gpu, &[2, 3, 51])).unwrap_err();
    assert_eq!(error.to_string(), "dy has shape [2, 3, 51], expected [2, 3, 50]");
    assert!(conv.run(good).is_ok() && backward.run(good, &u).is_ok());
    let error = LongConv::with_tile(&gpu, spec, 48).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tile of a long convolution is 48, expected a power of two from 32 to 2048"
    );
}

#[test]
fn a_lost_device_is_an_error_from_then_on() {
    let gpu = pose(&PROFILES[0]);
    let tensor = zeros::<f32>(&gpu, &[4]);
    gpu.device().destroy();
    let error = tensor.read_blocking().unwrap_err();
    assert!(matches!(error, Error::DeviceLost(_)), "{error}");
    assert!(Tensor::<f32>::zeros(&gpu, &[4]).is_err());
}

/// A caller's buffer may be anything; what cannot be bound is an error, not the end of the process.
#[test]
fn buffers_that_cannot_be_bound_are_refused() {
    let (gpu, other) = (pose(&PROFILES[0]), pose(&PROFILES[0]));
    let spec = LinearScanSpec::new(DType::F32, 1, 1, 4);
    let scan = LinearScan::new(&gpu, spec).unwrap();
    let good = zeros::<f32>(&gpu, &spec.shape());

    let foreign = zeros::<f32>(&other, &spec.shape());
    let error = scan.run(LinearScanInputs { a: &foreign, b: &good, initial: None }).unwrap_err();
    assert!(matches!(error, Error::Foreign { tensor: "a" }), "{error}");

    let usage = wgpu::BufferUsages::COPY_DST;
    let buffer = |size| {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        gpu.device().create_buffer(&descriptor)
    };
    let unusable = Tensor::<f32>::from_buffer(&gpu, buffer(16), &spec.shape()).unwrap();
    let error = scan.run(LinearScanInputs { a: &good, b: &unusable, initial: None }).unwrap_err();
    assert!(matches!(error, Error::Gpu { .. }), "{error}");

    let error = Tensor::<f32>::from_buffer(&gpu, buffer(12), &spec.shape()).unwrap_err();
    assert!(matches!(error, Error::Length { expected: 4, .. }), "{error}");
    scan.run(LinearScanInputs { a: &good, b: &good, initial: None }).unwrap();
}
