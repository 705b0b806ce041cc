//! A compiled kernel: pipeline, bind-group layout, dispatch.

use crate::shader::{Access, Checks, Shader};
use crate::{Error, Gpu};

/// A [`Shader`] compiled for a [`Gpu`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kernel {
    label: &'static str,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: usize,
    params: Vec<String>,
}

impl Kernel {
    pub(crate) fn compile(gpu: &Gpu, shader: &Shader) -> Self {
        let device = gpu.device();
        let entries: Vec<_> = (0..).zip(&shader.bindings).map(|(i, b)| layout_entry(i, b.access)).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(shader.label),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.label),
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.label),
            layout: Some(&pipeline_layout),
            module: &module(gpu, shader),
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes its workgroup memory before it reads it, and the checked run of the test
                // suite would show one that does not.
                zero_initialize_workgroup_memory: gpu.shader_checks(),
                ..Default::default()
            },
            cache: None,
        });
        Self { label: shader.label, pipeline, layout, bindings: entries.len(), params: shader.params.clone() }
    }

    /// Records `groups` workgroups. `params` is the kernel's uniform struct, whose first field is `groups`;
    /// `buffers` are its tensors, in the order of their bindings, each as a whole.
    pub(crate) fn dispatch(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        params: &impl Params,
        buffers: &[&wgpu::Buffer],
    ) -> Result<(), Error> {
        let whole: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_buffer_binding()).collect();
        self.dispatch_parts(gpu, encoder, params, whole)
    }

    /// The same with parts of buffers, which start where the adapter lets them.
    pub(crate) fn dispatch_parts(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        params: &impl Params,
        parts: Vec<wgpu::BufferBinding<'_>>,
    ) -> Result<(), Error> {
        assert_eq!(parts.len() + 1, self.bindings, "{}: tensors given against bindings declared", self.label);
        debug_assert!(
            params.field_names().eq(self.params.iter().map(String::as_str)),
            "{}: the shader's Params are {:?}, the host's {:?}",
            self.label,
            self.params,
            params.field_names().collect::<Vec<_>>(),
        );
        let groups = fold(params.groups(), gpu.caps().groups_per_dim).ok_or_else(|| Error::Gpu {
            label: self.label.to_owned(),
            message: format!("{} workgroups are more than a dispatch can have", params.groups()),
        })?;
        let descriptor = wgpu::BufferDescriptor {
            label: Some(self.label),
            size: size_of_val(params) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let uniform = gpu.guard(self.label, || {
            let uniform = gpu.device().create_buffer(&descriptor);
            gpu.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(params));
            uniform
        })?;
        let entries: Vec<_> = (0..)
            .zip(std::iter::once(uniform.as_entire_buffer_binding()).chain(parts))
            .map(|(binding, part)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(part),
            })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(self.label), layout: &self.layout, entries: &entries };
        // A buffer of another device, or without the usage it needs, is the caller's and is refused here.
        let bind_group = gpu.guard(self.label, || gpu.device().create_bind_group(&descriptor))?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(self.label),
            timestamp_writes: None,
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        Ok(())
    }
}

/// The kernels of a plan's shaders, in their order.
pub(crate) fn compile(gpu: &Gpu, shaders: &[Shader]) -> Result<Vec<Kernel>, Error> {
    shaders.iter().map(|shader| gpu.kernel(shader)).collect()
}

/// [`compile`], where the family fixes how many kernels a plan has.
pub(crate) fn compile_array<const N: usize>(gpu: &Gpu, shaders: &[Shader]) -> Result<[Kernel; N], Error> {
    Ok(compile(gpu, shaders)?.try_into().expect("a plan's kernels are as many as its family has"))
}

/// A kernel's uniform struct. [`params!`] declares one.
pub trait Params: bytemuck::Pod {
    /// Field names, of 4 bytes each. Every dispatch of a debug build compares them with the shader's own struct.
    const FIELDS: &'static [&'static str];

    /// [`FIELDS`](Self::FIELDS), as an iterator.
    fn field_names(&self) -> impl Iterator<Item = &'static str> {
        Self::FIELDS.iter().copied()
    }

    /// How many workgroups the call needs.
    fn groups(&self) -> u32;
}

/// Declares the host side of a kernel's `struct Params`: 4-byte fields in the shader's order, `groups` first.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        // Fields of 4 bytes have the same offsets here and in WGSL's uniform address space.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        #[allow(missing_docs, reason = "each field is described in the shader, where it is used")]
        pub struct $name {
            pub groups: u32,
            $(pub $field: $type,)*
        }

        impl $crate::kernel::Params for $name {
            const FIELDS: &'static [&'static str] = &["groups", $(stringify!($field)),*];

            fn groups(&self) -> u32 {
                self.groups
            }
        }

        $(const _: () = assert!(size_of::<$type>() == 4, "a field of Params takes 4 bytes");)*
    };
}
pub(crate) use params;

fn module(gpu: &Gpu, shader: &Shader) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(shader.label),
        source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
    };
    if gpu.shader_checks() || shader.checks == Checks::All {
        return gpu.device().create_shader_module(descriptor);
    }
    let mut checks = wgpu::ShaderRuntimeChecks::unchecked();
    checks.int_div_checks = shader.checks == Checks::Divisions;
    // SAFETY: kernels mask their own loads and stores, so no index leaves its buffer, and every loop's trip count
    // is bounded by a uniform size. Every suite that runs kernels also runs with the checks on. A user's snippet is
    // linked here only if it neither indexes nor loops, and its divisions keep their checks.
    unsafe { gpu.device().create_shader_module_trusted(descriptor, checks) }
}

fn layout_entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    let ty = match access {
        Access::Uniform => wgpu::BufferBindingType::Uniform,
        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// Folds a count of workgroups into three dimensions of at most `limit`, none of which overshoots more than needed;
/// `common/dispatch.wgsl` undoes it.
fn fold(groups: u32, limit: u32) -> Option<[u32; 3]> {
    let x = groups.min(limit);
    let rows = groups.div_ceil(x.max(1));
    let y = rows.min(limit);
    let z = rows.div_ceil(y.max(1));
    (z <= limit).then_some([x, y, z])
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folding_covers_every_group_within_the_limit() {
        for limit in [1, 7, 65_535] {
            for groups in [0, 1, 2, 6, 7, 8, 48, 49, 50, 342, 65_535, 65_536, 10_000_000, u32::MAX] {
                let Some([x, y, z]) = fold(groups, limit) else {
                    assert!(
                        u64::from(groups) > u64::from(limit).pow(3),
                        "{groups} groups refused at {limit}"
                    );
                    continue;
                };
                assert!(x <= limit && y <= limit && z <= limit);
                assert!(u64::from(x) * u64::from(y) * u64::from(z) >= u64::from(groups));
            }
        }
    }
}
