//! Which adapter it was: what every record of a result or a measurement says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tilewise::Gpu;
use tilewise::wgpu::{AdapterInfo, DeviceType};

/// An adapter in its driver's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// The interface: Vulkan, Metal, DX12, GL or a browser's WebGPU.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_info: String,
    /// What kind of device it is, in words.
    pub device_type: Cow<'static, str>,
    /// The vendor's PCI identifier.
    pub vendor: u32,
    /// The device's PCI identifier.
    pub device: u32,
}

impl Adapter {
    /// The adapter that a GPU was opened on.
    pub fn of(gpu: &Gpu) -> Self {
        gpu.device().adapter_info().into()
    }

    /// Driver and version, as far as they are told.
    pub fn driver(&self) -> String {
        let parts = [self.driver.as_str(), &self.driver_info].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl From<AdapterInfo> for Adapter {
    fn from(info: AdapterInfo) -> Self {
        let device_type = match info.device_type {
            DeviceType::DiscreteGpu => "discrete GPU",
            DeviceType::IntegratedGpu => "integrated GPU",
            DeviceType::VirtualGpu => "virtual GPU",
            DeviceType::Cpu => "software on the CPU",
            DeviceType::Other => "unknown kind",
        };
        Self {
            backend: info.backend.to_string(),
            device_type: device_type.into(),
            vendor: info.vendor,
            device: info.device,
            name: info.name,
            driver: info.driver,
            driver_info: info.driver_info,
        }
    }
}
