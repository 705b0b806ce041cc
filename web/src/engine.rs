//! What JavaScript holds.

use js_sys::{Array, Promise};
use tilewise::caps::{self, Subgroups};
use tilewise::{Caps, Gpu};
use tilewise_named::adapter::Adapter;
use tilewise_named::ops::OPERATIONS;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::future_to_promise;

use crate::call::Call;
use crate::device::Device;
use crate::js::{error, object};

/// A device with everything that was compiled for it.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) device: Device,
}

/// The names of the operations.
#[wasm_bindgen]
pub fn operations() -> Array {
    OPERATIONS.iter().map(|(name, _)| JsValue::from(*name)).collect()
}

fn adapter(gpu: &Gpu) -> JsValue {
    let Adapter { name, backend, driver, driver_info, device_type, vendor, device } = Adapter::of(gpu);
    object([
        ("name", name.into()),
        ("backend", backend.into()),
        ("driver", driver.into()),
        ("driver_info", driver_info.into()),
        ("device_type", device_type.as_ref().into()),
        ("vendor", vendor.into()),
        ("device", device.into()),
    ])
}

/// What a page's adapter can have of these. Said field by field: what makes JSON of any data is a good part of the package.
fn capabilities(caps: &Caps) -> JsValue {
    let subgroups = |Subgroups { min, max }| object([("min", min.into()), ("max", max.into())]);
    object([
        ("workgroup_bytes", caps.workgroup_bytes.into()),
        ("workgroup_lanes", caps.workgroup_lanes.into()),
        ("groups_per_dim", caps.groups_per_dim.into()),
        ("storage_buffers", caps.storage_buffers.into()),
        ("loop_turns", caps.loop_turns.map_or(JsValue::NULL, JsValue::from)),
        ("joint_barriers", caps.joint_barriers.into()),
        ("binding_bytes", (caps.binding_bytes as f64).into()),
        ("buffer_bytes", (caps.buffer_bytes as f64).into()),
        ("subgroups", caps.subgroups.map_or(JsValue::NULL, subgroups)),
        ("f16", caps.f16.into()),
        ("timestamps", caps.timestamps.into()),
    ])
}

#[wasm_bindgen]
impl Engine {
    /// On a `GPUDevice`. `ceiling` names a profile whose capabilities plans must not exceed.
    pub async fn open(
        device: JsValue,
        info: JsValue,
        owned: bool,
        ceiling: Option<String>,
    ) -> Result<Self, JsValue> {
        let ceiling = ceiling.map(|name| {
            let unknown = || {
                let names: Vec<_> = caps::PROFILES.iter().map(|profile| profile.name).collect();
                error(format!("there is no profile {name:?}; there are: {}", names.join(", ")))
            };
            caps::profile(&name).map(|profile| profile.caps.clone()).ok_or_else(unknown)
        });
        let device = Device::open(device, info, owned, ceiling.transpose()?).await?;
        Ok(Self { device })
    }

    /// Bytes of tensors and scratch on the device.
    #[wasm_bindgen(getter)]
    pub fn memory(&self) -> f64 {
        self.device.gpu.memory().live() as f64
    }

    /// How many kernels were compiled.
    #[wasm_bindgen(getter)]
    pub fn kernels(&self) -> usize {
        self.device.gpu.kernels_compiled()
    }

    /// The adapter and what plans are made from.
    pub fn describe(&self) -> JsValue {
        object([("adapter", adapter(&self.device.gpu)), ("caps", capabilities(self.device.gpu.caps()))])
    }

    /// Computes; see [`Call`]. The tensors are copied before this returns.
    pub fn call(
        &self,
        name: String,
        options: &Array,
        tensors: &Array,
        texts: &Array,
        on_device: bool,
    ) -> Promise {
        let device = self.device.clone();
        let call = Call::new(&device, name, options, tensors, texts);
        future_to_promise(async move { call?.run(&device, on_device).await })
    }
}
