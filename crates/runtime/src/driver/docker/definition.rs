//! From the plan of an instance to what Docker is asked for. Changes nothing.

use super::engine::{DATA, Place};
use super::made::door;
use crate::InstanceSpec;
use crate::driver::plan::Plan;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits,
};
use launcher::{Bind, Gate, Root, Shape, User};
use model::Limits;
use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

/// The name server that an instance with a way out has.
const NAME_SERVER: &str = "127.0.0.53";
/// Microseconds in which the processor time counts.
const PERIOD: i64 = 100_000;

/// What of the kernel's files tells of the machine: those that Docker masks, those that a sandbox does not show
/// either, and what only root may read, since a container's root may be the host's. Not every kernel has every one.
const MASKED: [&str; 21] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/security",
];

/// Where each processor has a folder.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// All that is masked: Docker masks how hot each processor was too.
static HIDDEN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let fixed = MASKED.iter().map(|path| (*path).to_owned());
    fixed.chain(thermal(Path::new(PROCESSORS))).collect()
});

/// Of those processors that have it, since Docker is on the same machine.
fn thermal(processors: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(processors).into_iter().flatten();
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path().join("thermal_throttle")));
    let there = folders.filter(|folder| folder.is_dir());
    let mut there: Vec<String> = there.map(|path| path.display().to_string()).collect();
    there.sort_unstable();
    there
}

/// What Docker is asked for. Neither arguments nor environment are in it: the gate is told them. Of secrets and
/// configs, only where they will be.
pub(super) fn definition(
    spec: &InstanceSpec,
    plan: &Plan,
    image: &str,
    place: &Place,
) -> ContainerCreateBody {
    let labels = [
        (DATA, place.data.to_string()),
        ("rouse.instance", spec.id.to_string()),
        ("rouse.owner", spec.owner.log_key()),
    ];
    ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some(user(&plan.shape.user)),
        entrypoint: Some(vec![Gate::PROGRAM.to_owned()]),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            mounts: Some(mounts(spec, plan, place)),
            extra_hosts: Some(hosts(&plan.shape)),
            dns: Some(vec![NAME_SERVER.to_owned()]),
            ..hardened(&plan.assignment.limits)
        }),
        ..ContainerCreateBody::default()
    }
}

/// Limits, and what no instance may do.
fn hardened(limits: &Limits) -> HostConfig {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let tmp = format!(
        "rw,exec,nosuid,nodev,mode=1777,size={},nr_inodes={}",
        limits.tmp,
        launcher::inodes(limits.tmp)
    );
    let files = i64::from(limits.files);
    let limit = |name: &str, most| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(most),
        hard: Some(most),
    };
    HostConfig {
        memory: Some(number(limits.memory)),
        // Memory and swap together: no swap.
        memory_swap: Some(number(limits.memory)),
        cpu_period: Some(PERIOD),
        cpu_quota: Some(i64::from(limits.cpu) * PERIOD / 1000),
        pids_limit: Some(i64::from(limits.pids)),
        ulimits: Some(vec![limit("nofile", files), limit("core", 0)]),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmp)])),
        shm_size: Some(number(limits.tmp)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        privileged: Some(false),
        masked_paths: Some(HIDDEN.clone()),
        init: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        ..HostConfig::default()
    }
}

fn user(user: &User) -> String {
    match user {
        User::Ids { uid, gid } => format!("{uid}:{gid}"),
        User::Named(name) => name.clone(),
    }
}

fn hosts(shape: &Shape) -> Vec<String> {
    let line = |(name, address): &(String, std::net::IpAddr)| format!("{name}:{address}");
    shape.hosts.iter().map(line).collect()
}

fn mounts(spec: &InstanceSpec, plan: &Plan, place: &Place) -> Vec<Mount> {
    let of_host: &[Bind] = match &plan.shape.root {
        Root::Host { binds } => binds,
        Root::Image { .. } => &[],
    };
    let binds = of_host.iter().chain(&plan.shape.binds);
    let binds = binds.chain(&plan.assignment.code);
    let binds = binds.map(|bind| mount(&bind.source, &bind.target, true));
    let volumes = plan.shape.volumes.iter();
    let volumes = volumes.map(|volume| mount(&volume.source, &volume.target, volume.read_only));
    // Covered before the program begins: Docker does not see what is in them.
    let files = spec.files.iter();
    let files = files.map(|file| mount(&place.empty(), Path::new(&file.target), true));
    let own = [
        mount(&place.gate(), Path::new(Gate::PROGRAM), true),
        mount(&door(place, &spec.id), Path::new(Gate::DOOR), true),
    ];
    binds.chain(volumes).chain(files).chain(own).collect()
}

fn mount(source: &Path, target: &Path, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.display().to_string()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_tells_how_hot_a_processor_was_is_masked() {
        let folder = tempfile::tempdir().unwrap();
        for there in ["cpu0/thermal_throttle", "cpu10/thermal_throttle", "cpu1"] {
            std::fs::create_dir_all(folder.path().join(there)).unwrap();
        }
        let found = thermal(folder.path());
        let expected =
            ["cpu0", "cpu10"].map(|cpu| folder.path().join(cpu).join("thermal_throttle"));
        assert_eq!(found, expected.map(|path| path.display().to_string()));
        assert!(thermal(Path::new("/proc/self/none")).is_empty());
        let asked = hardened(&Limits::default()).masked_paths.unwrap();
        let own = thermal(Path::new(PROCESSORS));
        assert_eq!(asked.len(), MASKED.len() + own.len());
        assert!(own.iter().all(|path| asked.contains(path)));
    }
}
