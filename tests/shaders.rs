//! Every shader that a plan can lead to, checked without a GPU: it validates, it translates for Vulkan, Metal and
//! DX12, and it takes exactly the workgroup memory that its plan promises.

mod plans;

#[path = "../src/shader/native.rs"]
mod native;

use std::collections::{BTreeSet, HashMap};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use tilewise::caps::PROFILES;
use tilewise::plan::Footprint;
use tilewise::shader::{FILES, Files, Shader};
use tilewise::{baseline, bench};

use native::NATIVE;

/// Every list of shader files.
const LISTS: [Files; 3] = [FILES, baseline::FILES, bench::FILES];

/// Each distinct shader that the sample specs lead to on any profile, with its footprint.
fn variants() -> Vec<(Shader, Footprint)> {
    let mut variants = HashMap::new();
    for profile in PROFILES {
        for planned in plans::samples(profile.caps) {
            let shaders = planned.shaders.expect("a plan links");
            assert_eq!(shaders.len(), planned.footprints.len(), "{}", planned.name);
            for (shader, footprint) in shaders.into_iter().zip(planned.footprints) {
                assert_eq!(shader.label, footprint.kernel);
                let (_, known) = variants.entry(shader.source.clone()).or_insert((shader, footprint));
                assert_eq!(*known, footprint, "the same shader with two footprints");
            }
        }
    }
    variants.into_values().collect()
}

fn parse(shader: &Shader) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(&shader.source)
        .unwrap_or_else(|error| panic!("{}: {}", shader.label, error.emit_to_string(&shader.source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", shader.label, error.emit_to_string(&shader.source)));
    (module, info)
}

/// Sizes of the module's workgroup variables, in bytes.
fn workgroup_sizes(module: &Module) -> Vec<u32> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("a valid module has a layout");
    let workgroup = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    workgroup.map(|(_, variable)| layouter[variable.ty].size).collect()
}

fn translate(shader: &Shader, module: &Module, info: &ModuleInfo) {
    let fail = |target: &str, error: &dyn std::fmt::Display| panic!("{} in {target}: {error}", shader.label);
    let options = spv::Options { lang_version: (1, 4), ..Default::default() };
    if let Err(error) = spv::write_vec(module, info, &options, None) {
        fail("SPIR-V", &error);
    }
    let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    if let Err(error) = msl::write_string(module, info, &options, &msl::PipelineOptions::default()) {
        fail("MSL", &error);
    }
    if shader.source.contains("enable wgpu_cooperative_matrix;") {
        // naga 30 writes no cooperative matrices in HLSL, and no DX12 adapter reports any to wgpu.
        return;
    }
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".to_owned())) };
    if let Err(error) = hlsl::Writer::new(&mut String::new(), &options, &entry).write(module, info, None) {
        fail("HLSL", &error);
    }
}

#[test]
fn every_variant_validates_translates_and_takes_what_its_plan_promises() {
    let variants = variants();
    for (shader, footprint) in &variants {
        let (module, info) = parse(shader);
        translate(shader, &module, &info);
        let label = shader.label;
        let sizes = workgroup_sizes(&module);
        assert_eq!(
            sizes.iter().sum::<u32>(),
            footprint.workgroup_bytes,
            "{label}: workgroup bytes {sizes:?}"
        );
        // A variable of odd size would shift the ones behind it off the alignment that matrix loads need.
        assert!(
            sizes.iter().all(|size| size.is_multiple_of(16)),
            "{label}: workgroup variables of {sizes:?} bytes"
        );
        assert_eq!(module.entry_points.len(), 1, "{label}");
        assert_eq!(module.entry_points[0].workgroup_size, [footprint.lanes, 1, 1], "{label}");
        let storage =
            module.global_variables.iter().filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. }));
        assert_eq!(storage.count() as u32, footprint.storage_buffers, "{label}: storage buffers");
        assert_eq!(
            module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).count(),
            shader.bindings.len()
        );
    }
    println!("{} shader variants validated and translated", variants.len());
}

/// Whether a page can lead to it: wgpu 30 asks browsers for neither subgroups nor matrix units.
fn is_for_pages(shader: &Shader) -> bool {
    !["subgroup", "enable wgpu_cooperative_matrix;"].iter().any(|word| shader.source.contains(word))
}

/// What a page does not download is what only native adapters need: in a page nothing is linked with it, and no file beside
/// it speaks of what pages do not have.
#[test]
fn pages_reach_no_file_that_they_do_not_download() {
    let heading = |name: &str| format!("// {name}.wgsl");
    for shader in variants().into_iter().map(|(shader, _)| shader).filter(is_for_pages) {
        let found = NATIVE.iter().find(|name| shader.source.contains(&heading(name)));
        assert_eq!(found, None, "{} is linked with it", shader.label);
    }
    for (name, text) in FILES {
        let native = text.contains("subgroup") || text.contains("coop_mat");
        assert!(!native || NATIVE.contains(name), "{name} is for native adapters alone");
    }
}

/// Browsers have shader compilers of their own. Into the file that `TILEWISE_WRITE_SHADERS` names go all
/// variants that a page can lead to, as JSON: a list of labels and sources. `cargo xtask test` gives them to browsers.
#[test]
fn variants_for_browsers_are_written_out_where_they_are_asked_for() {
    let Some(path) = std::env::var_os("TILEWISE_WRITE_SHADERS") else { return };
    let mut found: Vec<_> = variants().into_iter().map(|(shader, _)| shader).filter(is_for_pages).collect();
    found.sort_by(|a, b| (a.label, &a.source).cmp(&(b.label, &b.source)));
    let list: Vec<_> = found.iter().map(|shader| [shader.label, &shader.source]).collect();
    std::fs::write(path, serde_json::to_string(&list).expect("texts")).expect("the file can be written");
    println!("{} shader variants written", list.len());
}

#[test]
fn every_shader_file_is_listed_and_used() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                found.insert(name.to_str().unwrap().replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }
    let listed: Vec<_> = LISTS.into_iter().flatten().map(|(name, _)| *name).collect();
    assert!(LISTS.iter().all(|files| files.is_sorted()), "a list of files is not sorted");
    assert_eq!(
        found,
        listed.iter().map(|name| (*name).to_owned()).collect(),
        "files under shaders/ against the lists"
    );

    let sources: Vec<_> = variants().into_iter().map(|(shader, _)| shader.source).collect();
    // The linker heads each file with its name.
    let unused: Vec<_> = listed
        .iter()
        .filter(|name| !sources.iter().any(|source| source.contains(&format!("// {name}.wgsl"))))
        .collect();
    assert!(unused.is_empty(), "no plan leads to {unused:?}");
}

#[test]
fn shader_files_parse_as_they_stand() {
    for (name, text) in LISTS.into_iter().flatten() {
        // Parsing resolves names too, which a file alone cannot have; the syntax is checked by the first pass, whose
        // errors say "expected".
        if let Err(error) = naga::front::wgsl::parse_str(text) {
            let message = error.to_string();
            assert!(!message.contains("expected"), "{name}: {message}");
        }
        let directive = text.lines().find(|line| line.starts_with("enable ") || line.starts_with('#'));
        assert_eq!(directive, None, "{name}: files hold no directives");
    }
}

#[test]
fn linked_shaders_are_as_reviewed() {
    for name in ["webgpu-baseline", "lavapipe", "nvidia-h100"] {
        let profile = tilewise::caps::profile(name).unwrap();
        for planned in plans::reviewed(profile.caps) {
            let shaders = planned.shaders.unwrap();
            let text: Vec<_> = shaders.into_iter().map(|shader| shader.source).collect();
            insta::assert_snapshot!(format!("{}@{name}", planned.name), text.join("\n// ----\n\n"));
        }
    }
}
