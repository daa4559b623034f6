//! Where networks train: the processor, or a graphics card.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// A device by name: `cpu`, `cuda` or `cuda:<index>`, `wgpu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TrainingDevice {
    /// The processor; always there.
    #[default]
    Cpu,
    /// An NVIDIA card, by its index. Needs the cargo feature `cuda`.
    Cuda(u32),
    /// The default adapter of Vulkan, Metal or DirectX. Needs the cargo feature `wgpu`.
    Wgpu,
}

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No name of a device.
    #[error("no training device is called `{0}`; use `cpu`, `cuda`, `cuda:1` or `wgpu`")]
    Unknown(String),
    /// The program was built without it.
    #[error(
        "this program was built without `{0}`: build it with `--features {0}`, \
         or set the training device to `cpu`"
    )]
    NotBuilt(&'static str),
    /// Something has trained already, or another device was chosen before.
    #[error("the training device can be chosen once, before anything has trained")]
    TooLate,
}

impl FromStr for TrainingDevice {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(name.chars().take(80).collect());
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            None if name == "wgpu" => Ok(Self::Wgpu),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for TrainingDevice {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

impl fmt::Display for TrainingDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl From<TrainingDevice> for String {
    fn from(device: TrainingDevice) -> Self {
        device.to_string()
    }
}

/// One per process, like the drivers behind it: which device trains is no part of an ask, and
/// the totals are rounded either way.
static CHOSEN: OnceLock<(TrainingDevice, Device)> = OnceLock::new();

impl TrainingDevice {
    fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(Device::cuda(index as usize)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt("cuda")),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu => Err(DeviceError::NotBuilt("wgpu")),
        }
    }

    /// Trains networks of this process on this device from now on.
    ///
    /// # Errors
    /// When the program was built without it, or something has trained on another one.
    pub fn choose(self) -> Result<(), DeviceError> {
        let opened = self.open()?;
        let (chosen, _) = CHOSEN.get_or_init(|| (self, opened));
        if *chosen == self {
            Ok(())
        } else {
            Err(DeviceError::TooLate)
        }
    }
}

/// The chosen device, or else the processor.
pub(super) fn device() -> Device {
    let (_, device) = CHOSEN.get_or_init(|| (TrainingDevice::Cpu, Device::flex()));
    device.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        assert_eq!("cpu".parse(), Ok(TrainingDevice::Cpu));
        assert_eq!("cuda".parse(), Ok(TrainingDevice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(TrainingDevice::Cuda(3)));
        assert_eq!("wgpu".parse(), Ok(TrainingDevice::Wgpu));
        for name in ["cpu", "cuda:3", "wgpu"] {
            let device: TrainingDevice = name.parse().expect("a device");
            assert_eq!(device.to_string(), name);
        }
        for name in ["", "gpu", "cuda:", "cuda:x", "wgpu:1"] {
            let unknown = name.parse::<TrainingDevice>();
            assert_eq!(unknown, Err(DeviceError::Unknown(name.to_owned())));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_is_refused() {
        let refused = TrainingDevice::Cuda(0).choose();
        assert_eq!(refused, Err(DeviceError::NotBuilt("cuda")));
    }
}
