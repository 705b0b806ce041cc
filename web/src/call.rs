//! Operations by name on tensors of a page.

use std::borrow::Cow;
use std::collections::BTreeMap;

use js_sys::{Array, Promise, Uint8Array};
use tilewise_named::Failure;
use tilewise_named::ops::{Planned, of_call};
use tilewise_named::options;
use tilewise_named::tensors::{Content, Dtype, Given, Output, TensorFile};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::device::Device;
use crate::js::{error, get, object, texts};

/// A call whose tensors were copied out of the page's arrays.
pub struct Call {
    name: String,
    options: options::Given,
    file: TensorFile<'static>,
}

impl Call {
    /// Takes `tensors`, objects of `name`, `dtype`, `shape` and `data` (bytes, or a `GPUBuffer`), and `given_texts`, pairs of a
    /// name and a text, which options name.
    pub fn new(
        device: &Device,
        name: String,
        options: &Array,
        tensors: &Array,
        given_texts: &Array,
    ) -> Result<Self, JsValue> {
        let options = options::Given::new(&name, texts(options));
        let tensors: Result<BTreeMap<_, _>, JsValue> =
            tensors.iter().map(|tensor| given(device, &tensor)).collect();
        let pair = |pair: JsValue| {
            let pair = texts(pair.unchecked_ref());
            Some((pair.first()?.clone(), pair.get(1)?.clone()))
        };
        let file = TensorFile::of_call(&name, tensors?, given_texts.iter().filter_map(pair).collect());
        Ok(Self { name, options, file })
    }

    /// Plans, compiles and computes. Waits for shaders, and for results unless they are to stay on the device.
    pub async fn run(self, device: &Device, on_device: bool) -> Result<JsValue, JsValue> {
        let found = self.compute(device, on_device).await;
        // Between calls nothing is encoded and not submitted.
        device.gpu.free_dropped();
        found
    }

    async fn compute(self, device: &Device, on_device: bool) -> Result<JsValue, JsValue> {
        let Self { name, options, file } = self;
        let operation = of_call(&name, options, &file).map_err(error)?;
        if let Some(ignored) = file.ignored() {
            return Err(error(format!("{name}: {ignored}")));
        }
        let mut plans = operation.plans(device.gpu.caps()).map_err(error)?;
        plans.retain(|planned| planned.is_taken(&file));
        device.prepare(plans.iter().flat_map(|Planned { shaders, .. }| shaders)).await?;
        let computed = device.guard(|| operation.compute(&device.gpu, &file)).await;
        let outputs = computed.map_err(Failure::from).and_then(|outputs| outputs).map_err(error)?;
        // All at once: some browsers look only every tenth of a second whether the device is done.
        let read = |output: Output| {
            let device = device.clone();
            future_to_promise(async move { result(&device, &output, on_device).await })
        };
        let reads: Array = outputs.into_iter().map(read).collect();
        let results = JsFuture::from(Promise::all(&reads)).await?;
        let plan =
            |Planned { pass, explanation, .. }: &Planned| JsValue::from(format!("{pass}: {explanation}"));
        let plans: Array = plans.iter().map(plan).collect();
        Ok(object([("results", results), ("plans", plans.into())]))
    }
}

fn given(device: &Device, tensor: &JsValue) -> Result<(String, Given<'static>), JsValue> {
    let text = |name| get(tensor, name).as_string().unwrap_or_default();
    let (name, dtype) = (text("name"), text("dtype"));
    let dtype = match dtype.as_str() {
        "f32" => Dtype::F32,
        "f16" => Dtype::F16,
        "bf16" => Dtype::BF16,
        "i8" => Dtype::I8,
        "i32" => Dtype::I32,
        "u32" => Dtype::U32,
        other => {
            return Err(error(format!("{name} holds {other:?}, expected f32, f16, bf16, i8, i32 or u32")));
        }
    };
    let shape: Array = get(tensor, "shape").unchecked_into();
    let shape = shape.iter().map(|size| match size.as_f64() {
        Some(whole) if whole >= 0.0 && whole.fract() == 0.0 && whole <= f64::from(u32::MAX) => {
            Ok(whole as usize)
        }
        _ => Err(error(format!("{name} has a size {size:?}, expected whole numbers from 0"))),
    });
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    let data = get(tensor, "data");
    let content = match data.dyn_into::<Uint8Array>() {
        Ok(bytes) => Content::Host(Cow::Owned(bytes.to_vec())),
        Err(buffer) => Content::Device(device.adopt(&buffer)),
    };
    Ok((name, Given { dtype, shape, content }))
}

async fn result(device: &Device, output: &Output, on_device: bool) -> Result<JsValue, JsValue> {
    let data = match output.buffer() {
        Some(buffer) if on_device => device.copy(buffer)?,
        _ => Uint8Array::from(&*output.bytes().await.map_err(error)?).into(),
    };
    let shape: Array = output.shape.iter().map(|&size| JsValue::from(size as f64)).collect();
    let name = JsValue::from(output.name.as_str());
    Ok(object([
        ("name", name),
        ("dtype", output.type_name().into()),
        ("shape", shape.into()),
        ("data", data),
    ]))
}
