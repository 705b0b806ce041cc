//! What an adapter can do, as plain numbers: the planner's only knowledge of the machine.
//!
//! This is the one file that reads wgpu's limits and features; everything after it works on [`Caps`], so that a
//! machine which is not here can be planned for by name.

use std::borrow::Cow;
use std::fmt;

/// The sizes a subgroup (warp, wave, SIMD-group) may have on an adapter.
///
/// WGSL does not say which size a kernel gets, so plans may rely on `min` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subgroups {
    /// The smallest size.
    pub min: u32,
    /// The largest size.
    pub max: u32,
}

/// One shape of cooperative matrix product, `m × k` by `k × n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MatrixShape {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// The summed dimension.
    pub k: u32,
    /// Whether the result is accumulated in f32 (otherwise f16); the factors are f16.
    pub f32_accumulator: bool,
}

/// Matrix units that multiply square matrices of f16 into sums of f32, by subgroups of a size that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MatrixUnits {
    /// Rows and columns of a matrix: 8 or 16.
    pub side: u32,
    /// Lanes of a subgroup, which holds a matrix together.
    pub subgroup_lanes: u32,
    #[cfg_attr(feature = "serde", serde(skip))]
    native: Native,
}

/// What is held by all that only native adapters can have: wgpu asks no browser for subgroups or matrix units. In a browser
/// it has no values, so that nothing that holds it has any either, and the compiler leaves out what would work with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Native(#[cfg(target_arch = "wasm32")] std::convert::Infallible);

impl Native {
    /// The one value, where there is one.
    pub(crate) const HERE: Option<Self> = {
        #[cfg(target_arch = "wasm32")]
        let here = None;
        #[cfg(not(target_arch = "wasm32"))]
        let here = Some(Self());
        here
    };
}

/// The capabilities of an adapter that plans depend on. Sizes are in bytes unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Caps {
    /// Workgroup (shared) memory of one workgroup.
    pub workgroup_bytes: u32,
    /// Invocations of one workgroup, all along x.
    pub workgroup_lanes: u32,
    /// Workgroups along one dimension of a dispatch.
    pub groups_per_dim: u32,
    /// Storage buffers that one kernel can bind.
    pub storage_buffers: u32,
    /// Turns that all loops of one invocation may take together, where the driver counts them. Mesa's llvmpipe leaves
    /// every loop without a word after 65,535; plans count on half, since which loops a compiler unrolls is its own
    /// affair.
    pub loop_turns: Option<u32>,
    /// Whether a barrier of a subgroup waits for all of its workgroup, as Mesa's llvmpipe has it: then subgroups must not
    /// take branches of their own around one.
    pub joint_barriers: bool,
    /// Size of one storage binding.
    pub binding_bytes: u64,
    /// Size of one buffer.
    pub buffer_bytes: u64,
    /// Subgroup operations, where there are any.
    pub subgroups: Option<Subgroups>,
    /// `shader-f16`: f16 as a type of its own in shaders.
    pub f16: bool,
    /// Timestamps written on the device.
    pub timestamps: bool,
    /// Cooperative matrix shapes, where there are any. A device that was opened elsewhere does not tell them, and then
    /// there are none.
    pub matrices: Cow<'static, [MatrixShape]>,
}

/// A named [`Caps`], standing for a class of machines.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// The name on the command line.
    pub name: &'static str,
    /// Which machines it stands for, and where its numbers come from.
    pub about: &'static str,
    /// The capabilities.
    pub caps: &'static Caps,
}

/// What every WebGPU implementation must offer: no optional feature at all.
pub const WEBGPU_BASELINE: Caps = Caps {
    workgroup_bytes: 16 << 10,
    workgroup_lanes: 256,
    groups_per_dim: 65_535,
    storage_buffers: 8,
    loop_turns: None,
    joint_barriers: false,
    binding_bytes: 128 << 20,
    buffer_bytes: 256 << 20,
    subgroups: None,
    f16: false,
    timestamps: false,
    matrices: Cow::Borrowed(&[]),
};

/// Desktop-class WebGPU: the common part of the vendor profiles below, as wgpu's limit buckets have it.
const DESKTOP: Caps = Caps {
    workgroup_bytes: 32 << 10,
    workgroup_lanes: 1024,
    storage_buffers: 16,
    binding_bytes: 1 << 30,
    buffer_bytes: 1 << 30,
    f16: true,
    timestamps: true,
    ..WEBGPU_BASELINE
};

const APPLE_M1: Caps = Caps { storage_buffers: 9, subgroups: Some(Subgroups { min: 4, max: 64 }), ..DESKTOP };
const AMD_RX: Caps = Caps { subgroups: Some(Subgroups { min: 32, max: 64 }), ..DESKTOP };
const AMD_VEGA: Caps =
    Caps { workgroup_bytes: 64 << 10, subgroups: Some(Subgroups { min: 64, max: 64 }), ..DESKTOP };
const INTEL_XE: Caps =
    Caps { binding_bytes: 512 << 20, subgroups: Some(Subgroups { min: 8, max: 32 }), ..DESKTOP };
const NVIDIA_RTX: Caps =
    Caps { workgroup_bytes: 48 << 10, subgroups: Some(Subgroups { min: 32, max: 32 }), ..DESKTOP };
const NVIDIA_H100: Caps = Caps {
    binding_bytes: (2 << 30) - 4,
    buffer_bytes: u32::MAX as u64,
    matrices: Cow::Borrowed(&[MatrixShape { m: 16, n: 16, k: 16, f32_accumulator: true }]),
    ..NVIDIA_RTX
};
const NVIDIA_NO_F16: Caps =
    Caps { f16: false, subgroups: Some(Subgroups { min: 32, max: 64 }), ..NVIDIA_RTX };
const ADRENO: Caps = Caps {
    f16: true,
    subgroups: Some(Subgroups { min: 64, max: 128 }),
    workgroup_bytes: 32 << 10,
    workgroup_lanes: 1024,
    ..WEBGPU_BASELINE
};
const MALI: Caps = Caps {
    f16: true,
    subgroups: Some(Subgroups { min: 16, max: 16 }),
    workgroup_bytes: 32 << 10,
    workgroup_lanes: 512,
    ..WEBGPU_BASELINE
};
const LAVAPIPE: Caps = Caps {
    loop_turns: Some(LLVMPIPE_TURNS),
    joint_barriers: true,
    binding_bytes: 128 << 20,
    subgroups: Some(Subgroups { min: 8, max: 8 }),
    ..DESKTOP
};
const LAVAPIPE_26: Caps =
    Caps { matrices: Cow::Borrowed(&[MatrixShape { m: 8, n: 8, k: 8, f32_accumulator: true }]), ..LAVAPIPE };
const SWIFTSHADER: Caps = Caps {
    workgroup_lanes: 256,
    binding_bytes: 1 << 30,
    f16: false,
    subgroups: Some(Subgroups { min: 4, max: 4 }),
    ..DESKTOP
};
const WARP: Caps =
    Caps { binding_bytes: 128 << 20, subgroups: Some(Subgroups { min: 4, max: 128 }), ..DESKTOP };

/// Every named profile. The vendor classes follow the limit buckets of wgpu 30 where it has one; the others are
/// conservative readings of the vendors' public device reports.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "webgpu-baseline",
        about: "what every WebGPU implementation must offer",
        caps: &WEBGPU_BASELINE,
    },
    Profile { name: "apple-m1", about: "Apple M series, Metal", caps: &APPLE_M1 },
    Profile { name: "amd-rx", about: "Radeon RX (RDNA)", caps: &AMD_RX },
    Profile { name: "amd-vega", about: "Radeon Vega (GCN)", caps: &AMD_VEGA },
    Profile { name: "intel-xe", about: "Intel Xe and Arc", caps: &INTEL_XE },
    Profile { name: "nvidia-rtx", about: "GeForce RTX", caps: &NVIDIA_RTX },
    Profile { name: "nvidia-h100", about: "H100, Vulkan, with cooperative matrices", caps: &NVIDIA_H100 },
    Profile { name: "nvidia-no-f16", about: "GeForce without shader-f16", caps: &NVIDIA_NO_F16 },
    Profile { name: "adreno", about: "Qualcomm Adreno phones", caps: &ADRENO },
    Profile { name: "mali", about: "Arm Mali phones", caps: &MALI },
    Profile { name: "lavapipe", about: "Mesa's software Vulkan", caps: &LAVAPIPE },
    Profile {
        name: "lavapipe-26",
        about: "the same from Mesa 26 on, with cooperative matrices",
        caps: &LAVAPIPE_26,
    },
    Profile { name: "swiftshader", about: "Chromium's software Vulkan", caps: &SWIFTSHADER },
    Profile { name: "warp", about: "Windows' software DX12", caps: &WARP },
];

/// The profile of that name.
pub fn profile(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}

/// See [`Caps::loop_turns`].
const LLVMPIPE_TURNS: u32 = 65_535 / 2;

/// The features that tilewise asks a device for, each only where the adapter has it.
pub(crate) fn wanted_features() -> wgpu::Features {
    wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
        | matrix_features()
}

/// The features that kernels on matrix units need together.
pub(crate) fn matrix_features() -> wgpu::Features {
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SUBGROUP_BARRIER
}

impl Caps {
    /// Reads the capabilities of an opened device, or of an adapter before one is opened.
    pub fn from_wgpu(limits: &wgpu::Limits, features: wgpu::Features, info: &wgpu::AdapterInfo) -> Self {
        let subgroups = features
            .contains(wgpu::Features::SUBGROUP)
            .then_some(Subgroups { min: info.subgroup_min_size, max: info.subgroup_max_size });
        // lavapipe names it as its driver, the OpenGL one in the adapter's name.
        let llvmpipe = info.driver.contains("llvmpipe") || info.name.contains("llvmpipe");
        // A browser names no driver, but says that an adapter is software: it may be that one.
        let llvmpipe = llvmpipe
            || (info.backend == wgpu::Backend::BrowserWebGpu && info.device_type == wgpu::DeviceType::Cpu);
        Self {
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_lanes: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
            groups_per_dim: limits.max_compute_workgroups_per_dimension,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            loop_turns: llvmpipe.then_some(LLVMPIPE_TURNS),
            joint_barriers: llvmpipe,
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            subgroups,
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features
                .contains(wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS),
            matrices: Cow::Borrowed(&[]),
        }
    }

    /// Adds the cooperative-matrix shapes that an adapter reports.
    #[must_use]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn with_matrices(mut self, properties: &[wgpu::CooperativeMatrixProperties]) -> Self {
        let f16 = |p: &&wgpu::CooperativeMatrixProperties| p.ab_type == wgpu::CooperativeScalarType::F16;
        self.matrices = properties
            .iter()
            .filter(f16)
            .map(|p| MatrixShape {
                m: p.m_size,
                n: p.n_size,
                k: p.k_size,
                f32_accumulator: p.cr_type == wgpu::CooperativeScalarType::F32,
            })
            .collect();
        self
    }

    /// The matrix units that kernels use, if there are any: of the largest side. Which lanes make a subgroup must be known,
    /// so its size must be.
    pub fn matrix_units(&self) -> Option<MatrixUnits> {
        let native = Native::HERE?;
        let subgroups = self.subgroups.filter(|sizes| sizes.min == sizes.max)?;
        let square =
            |s: &&MatrixShape| s.f32_accumulator && s.m == s.n && s.n == s.k && matches!(s.m, 8 | 16);
        let side = self.matrices.iter().filter(square).map(|shape| shape.m).max()?;
        Some(MatrixUnits { side, subgroup_lanes: subgroups.max, native })
    }

    /// What both `self` and `other` can do: how a capable adapter poses as a lesser one.
    ///
    /// The subgroup range stays the adapter's own, since a kernel gets what the hardware has.
    #[must_use]
    pub fn restricted_to(&self, other: &Self) -> Self {
        Self {
            workgroup_bytes: self.workgroup_bytes.min(other.workgroup_bytes),
            workgroup_lanes: self.workgroup_lanes.min(other.workgroup_lanes),
            groups_per_dim: self.groups_per_dim.min(other.groups_per_dim),
            storage_buffers: self.storage_buffers.min(other.storage_buffers),
            loop_turns: self.loop_turns.into_iter().chain(other.loop_turns).min(),
            joint_barriers: self.joint_barriers || other.joint_barriers,
            binding_bytes: self.binding_bytes.min(other.binding_bytes),
            buffer_bytes: self.buffer_bytes.min(other.buffer_bytes),
            subgroups: self.subgroups.filter(|_| other.subgroups.is_some()),
            f16: self.f16 && other.f16,
            timestamps: self.timestamps,
            matrices: self.matrices.iter().filter(|m| other.matrices.contains(m)).copied().collect(),
        }
    }
}

/// A number of bytes in the unit a person would use.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        let digits = usize::from(value.fract() >= 0.05 && value < 100.0);
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}
