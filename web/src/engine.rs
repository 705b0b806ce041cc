//! What JavaScript holds.

use js_sys::{Array, Promise};
use tilewise::caps;
use tilewise_named::adapter::Adapter;
use tilewise_named::ops::OPERATIONS;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::future_to_promise;

use crate::call::Call;
use crate::device::Device;
use crate::js::error;

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

/// JSON of plain data of ours.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(error)
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

    /// The adapter and what plans are made from, as JSON.
    pub fn describe(&self) -> Result<String, JsValue> {
        let gpu = &self.device.gpu;
        json(&serde_json::json!({ "adapter": Adapter::of(gpu), "caps": gpu.caps() }))
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
