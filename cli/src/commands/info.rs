//! `tilewise info`: the adapters and what they can do.

use std::fmt::{self, Write as _};

use serde::Serialize;
use tilewise::wgpu::{self, AdapterInfo};
use tilewise::{Bytes, Caps, Error};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{note, print, print_json};
use crate::table::{Cell, Column, Table};
use tilewise_named::adapter::Adapter;

/// One adapter.
#[derive(Debug, Serialize)]
struct Described {
    #[serde(flatten)]
    adapter: Adapter,
    /// Whether it is the one that the other commands use with these options.
    chosen: bool,
    caps: Caps,
    features: Vec<Feature>,
}

/// An optional feature, and what tilewise makes of it.
#[derive(Debug, Serialize)]
struct Feature {
    name: &'static str,
    /// What the adapter has of it, if anything.
    has: Option<String>,
    used_for: &'static str,
}

/// Lists the adapters. Fails if there is none, or none of the wanted name.
pub fn run(global: &Global) -> Result<(), Failure> {
    let adapters = pollster::block_on(all(global))?;
    if global.json {
        return print_json(&adapters);
    }
    let mut text = String::new();
    for adapter in &adapters {
        let _ = writeln!(text, "{adapter}");
    }
    print(&text)
}

async fn all(global: &Global) -> Result<Vec<Described>, Failure> {
    let chosen = match global.open() {
        Ok(gpu) => Some(gpu.device().adapter_info()),
        Err(Failure::Library(error @ Error::NoDevice { .. })) => {
            note(&format!("{error}"));
            None
        }
        Err(failure) => return Err(failure),
    };
    let adapters = tilewise::instance().enumerate_adapters(wgpu::Backends::all()).await;
    let wanted = global.adapter.as_deref().unwrap_or_default().to_lowercase();
    let described = adapters.iter().map(|adapter| describe(adapter, chosen.as_ref(), global));
    Ok(described.filter(|adapter| adapter.adapter.name.to_lowercase().contains(&wanted)).collect())
}

fn describe(adapter: &wgpu::Adapter, chosen: Option<&AdapterInfo>, global: &Global) -> Described {
    let info = adapter.get_info();
    let caps = Caps::from_wgpu(&adapter.limits(), adapter.features(), &info);
    let caps = caps.with_matrices(&adapter.cooperative_matrix_properties());
    let caps = global.ceiling.map_or_else(|| caps.clone(), |ceiling| caps.restricted_to(ceiling.caps));
    let same = |other: &AdapterInfo| {
        (&other.name, other.backend, other.device) == (&info.name, info.backend, info.device)
    };
    Described { chosen: chosen.is_some_and(same), features: features(&caps), adapter: info.into(), caps }
}

fn features(caps: &Caps) -> Vec<Feature> {
    let yes = |has: bool| has.then(|| "yes".to_owned());
    let sizes = caps.subgroups.map(|sizes| match (sizes.min, sizes.max) {
        (min, max) if min == max => format!("{min} lanes"),
        (min, max) => format!("{min} to {max} lanes"),
    });
    let shapes: Vec<_> = caps
        .matrices
        .iter()
        .map(|shape| {
            let sums = if shape.f32_accumulator { "f32" } else { "f16" };
            format!("{}×{}×{} f16→{sums}", shape.m, shape.n, shape.k)
        })
        .collect();
    vec![
        Feature {
            name: "shader-f16",
            has: yes(caps.f16),
            used_for: "f16 tensors as they are; without it they are unpacked from u32",
        },
        Feature {
            name: "subgroups",
            has: sizes,
            used_for: "exchange between lanes by shuffles; without them through workgroup memory",
        },
        Feature {
            name: "timestamps",
            has: yes(caps.timestamps),
            used_for: "times on the device's clock; without them on the host's",
        },
        Feature {
            name: "cooperative matrices",
            has: (!shapes.is_empty()).then(|| shapes.join(", ")),
            used_for: "dense products in f16; without them every product is done lane by lane",
        },
    ]
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adapter, caps, .. } = self;
        let Adapter { name, backend, device_type, .. } = adapter;
        let chosen = if self.chosen { ", used by default" } else { "" };
        writeln!(f, "{name} ({device_type}, {backend}{chosen})")?;
        let mut table = Table::new(&[Column::Left("limit"), Column::Left("here")]);
        for (limit, here) in [
            ("driver", adapter.driver()),
            ("workgroup memory", Bytes(caps.workgroup_bytes.into()).to_string()),
            ("lanes of a workgroup", caps.workgroup_lanes.to_string()),
            ("workgroups along a dimension", caps.groups_per_dim.to_string()),
            ("storage buffers of a kernel", caps.storage_buffers.to_string()),
            ("turns of a lane's loops", caps.loop_turns.map_or("any".to_owned(), |turns| turns.to_string())),
            ("one storage binding", Bytes(caps.binding_bytes).to_string()),
            ("one buffer", Bytes(caps.buffer_bytes).to_string()),
        ] {
            table.row([limit.into(), here.into()]);
        }
        writeln!(f, "{table}")?;
        let mut table =
            Table::new(&[Column::Left("feature"), Column::Left("here"), Column::Left("used for")]);
        for feature in &self.features {
            let has = feature.has.as_deref().map_or_else(|| Cell::from("no"), Cell::good);
            table.row([feature.name.into(), has, feature.used_for.into()]);
        }
        table.fmt(f)
    }
}
