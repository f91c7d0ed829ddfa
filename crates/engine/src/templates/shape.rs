//! What a template is made of.

use bhatti_types::id::{ImageId, TemplateId};
use bhatti_types::name::ImageName;
use bhatti_types::run::Init;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use bhatti_vmm::machine::Accelerator;
use serde::{Deserialize, Serialize};

/// Version of how templates are made. Another one means that older templates are not what would
/// be made now, and have other ids.
pub const FORMAT: u32 = 1;

/// All that makes one template differ from another. Machines of one shape are alike until they
/// are told who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// [`FORMAT`].
    pub format: u32,
    /// The image it booted from.
    pub image: ImageId,
    /// The image's name.
    pub image_name: ImageName,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk.
    pub disk: DiskMb,
    /// The guest kit it booted with.
    pub kit: String,
    /// The VMM's name.
    pub engine: String,
    /// The VMM's own words about its version: another one may not load this one's state.
    pub engine_version: String,
    /// The accelerator it runs under.
    pub accelerator: Accelerator,
    /// What process 1 is.
    #[serde(default, skip_serializing_if = "Init::is_default")]
    pub init: Init,
}

impl Shape {
    /// The id of its template.
    pub fn id(&self) -> TemplateId {
        // Every part is a string or a number.
        let text = serde_json::to_vec(self).unwrap_or_default();
        TemplateId::of_digest(blake3::hash(&text).as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod test {
    use bhatti_types::run::Init;
    use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
    use bhatti_vmm::machine::Accelerator;

    use super::{FORMAT, Shape};

    /// A shape with this much memory.
    pub(crate) fn shape(memory_mb: u64) -> Shape {
        Shape {
            format: FORMAT,
            image: "img_0000000000000001".parse().unwrap(),
            image_name: "base".parse().unwrap(),
            cpus: Vcpus::default(),
            memory: MemoryMb::new(memory_mb).unwrap(),
            disk: DiskMb::default(),
            kit: "0123456789abcdef".to_owned(),
            engine: "qemu".to_owned(),
            engine_version: "QEMU emulator version 7.2.0".to_owned(),
            accelerator: Accelerator::Tcg,
            init: Init::Lohar,
        }
    }

    #[test]
    fn a_templates_id_does_not_change_unnoticed() {
        // If it does, every template in use is made anew.
        assert_eq!(shape(256).id().as_str(), "tpl_8c2a40650080bdb6");
    }

    #[test]
    fn every_part_of_a_shape_is_part_of_its_id() {
        let base = shape(256);
        let others = [
            Shape {
                format: 9,
                ..base.clone()
            },
            Shape {
                image: "img_0000000000000002".parse().unwrap(),
                ..base.clone()
            },
            Shape {
                image_name: "other".parse().unwrap(),
                ..base.clone()
            },
            Shape {
                cpus: Vcpus::new(2).unwrap(),
                ..base.clone()
            },
            shape(512),
            Shape {
                disk: DiskMb::new(4096).unwrap(),
                ..base.clone()
            },
            Shape {
                kit: "f".to_owned(),
                ..base.clone()
            },
            Shape {
                engine: "f".to_owned(),
                ..base.clone()
            },
            Shape {
                engine_version: "f".to_owned(),
                ..base.clone()
            },
            Shape {
                accelerator: Accelerator::Kvm,
                ..base.clone()
            },
            Shape {
                init: Init::Systemd,
                ..base.clone()
            },
        ];
        let ids: std::collections::BTreeSet<_> =
            others.iter().chain([&base]).map(Shape::id).collect();
        assert_eq!(ids.len(), others.len() + 1);
    }
}
