//! Keys of the Compose specification that rouse does not serve, and what to do instead.

/// A key and the remedy.
type Unsupported = &'static [(&'static str, &'static str)];

/// At the top of the file.
pub(crate) const TOP: Unsupported = &[("models", "rouse serves no models")];

/// In a resident service.
pub(crate) const SERVICE: Unsupported = &[
    (
        "network_mode",
        "each replica has a network of its own; leave it out",
    ),
    (
        "cap_add",
        "nothing runs with capabilities here; leave it out",
    ),
    ("user", "an image's own user is taken; leave it out"),
    ("memswap_limit", "use deploy.resources.limits.memory"),
    (
        "tmpfs",
        "/tmp is writable already; for more use a named volume",
    ),
    (
        "devices",
        "no device of the host is shown inside; leave it out",
    ),
    (
        "extra_hosts",
        "services reach each other by name; others are not reached",
    ),
    (
        "container_name",
        "replicas are named by rouse; leave it out",
    ),
    (
        "hostname",
        "a service is reached by its own name; leave it out",
    ),
    ("links", "services reach each other by name; leave it out"),
    (
        "logging",
        "logs are kept by rouse: see `rouse logs`; leave it out",
    ),
    (
        "stop_grace_period",
        "a replica has ten seconds to end; leave it out",
    ),
    (
        "stop_signal",
        "a replica is asked to end by SIGTERM; leave it out",
    ),
    ("sysctls", "leave it out"),
    ("ulimits", "use deploy.resources.limits; leave it out"),
    (
        "develop",
        "run `rouse deploy` again after a change; leave it out",
    ),
    ("annotations", "use labels"),
    (
        "attach",
        "logs are kept by rouse: see `rouse logs`; leave it out",
    ),
    (
        "blkio_config",
        "reads and writes are not bounded; leave it out",
    ),
    (
        "cgroup",
        "each replica has control groups of its own; leave it out",
    ),
    (
        "cgroup_parent",
        "each replica has control groups of its own; leave it out",
    ),
    ("cpu_count", "use deploy.resources.limits.cpus"),
    ("cpu_percent", "use deploy.resources.limits.cpus"),
    ("cpu_period", "use deploy.resources.limits.cpus"),
    ("cpu_quota", "use deploy.resources.limits.cpus"),
    ("cpu_rt_period", "nothing has real time here; leave it out"),
    ("cpu_rt_runtime", "nothing has real time here; leave it out"),
    ("cpu_shares", "use deploy.resources.limits.cpus"),
    ("cpuset", "use deploy.resources.limits.cpus"),
    ("credential_spec", "that is of Windows; leave it out"),
    (
        "device_cgroup_rules",
        "no device of the host is shown inside; leave it out",
    ),
    (
        "dns",
        "name servers are the server's: rouse serve --dns; leave it out",
    ),
    (
        "dns_opt",
        "name servers are the server's: rouse serve --dns; leave it out",
    ),
    (
        "dns_search",
        "name servers are the server's: rouse serve --dns; leave it out",
    ),
    (
        "domainname",
        "a service is reached by its own name; leave it out",
    ),
    (
        "external_links",
        "services reach each other by name; leave it out",
    ),
    (
        "gpus",
        "no device of the host is shown inside; leave it out",
    ),
    ("group_add", "an image's own user is taken; leave it out"),
    (
        "ipc",
        "each replica has a namespace of its own; leave it out",
    ),
    ("isolation", "that is of Windows; leave it out"),
    ("label_file", "write the labels in `labels`"),
    (
        "mac_address",
        "a replica has a loopback link only; leave it out",
    ),
    (
        "mem_reservation",
        "nothing is reserved on one machine; leave it out",
    ),
    ("mem_swappiness", "leave it out"),
    ("models", "rouse serves no models"),
    (
        "oom_kill_disable",
        "one that fills its memory ends; leave it out",
    ),
    (
        "oom_score_adj",
        "one that fills its memory ends; leave it out",
    ),
    (
        "pid",
        "each replica has a namespace of its own; leave it out",
    ),
    (
        "post_start",
        "make it the beginning of `command`, or a service with `restart: \"no\"`",
    ),
    ("pre_stop", "heed SIGTERM in the program"),
    ("provider", "a service is an image or a folder here"),
    (
        "runtime",
        "x-rouse.runtime or x-rouse-base say what runs a folder; leave it out",
    ),
    (
        "shm_size",
        "/dev/shm is as large as the memory limit; leave it out",
    ),
    ("storage_opt", "the root is read-only; leave it out"),
    (
        "use_api_socket",
        "no Docker socket is shown inside; leave it out",
    ),
    (
        "userns_mode",
        "each replica has a user namespace of its own; leave it out",
    ),
    (
        "uts",
        "each replica has a namespace of its own; leave it out",
    ),
    ("volumes_from", "name the volumes in `volumes`"),
];

/// In a function, besides those of a service.
pub(crate) const FUNCTION: Unsupported = &[
    (
        "ports",
        "a function is called by event or at /fn/NAME; one with the http contract serves $PORT",
    ),
    (
        "expose",
        "a function is called by event or at /fn/NAME; leave it out",
    ),
    (
        "volumes",
        "a function keeps nothing between calls but /tmp; store objects in a bucket",
    ),
    (
        "healthcheck",
        "a function that does not answer is replaced; leave it out",
    ),
    (
        "restart",
        "a function is started when it is called; leave it out",
    ),
    (
        "deploy",
        "use memory, cpu, pids and concurrency in the x-rouse block",
    ),
    (
        "x-rouse-health",
        "a function that does not answer is replaced; leave it out",
    ),
    ("mem_limit", "use x-rouse.memory"),
    ("cpus", "use x-rouse.cpu"),
    ("pids_limit", "use x-rouse.pids"),
    ("scale", "use x-rouse.concurrency"),
    (
        "x-rouse-base",
        "use x-rouse.runtime, or x-rouse.base for an image to build on",
    ),
    (
        "x-rouse-secret-environment",
        "use x-rouse.secret_environment",
    ),
    ("x-rouse-egress", "use x-rouse.egress"),
    ("x-rouse-driver", "use x-rouse.driver"),
    ("x-rouse-triggers", "use x-rouse.triggers"),
];

/// In `build`.
pub(crate) const BUILD: Unsupported = &[
    (
        "dockerfile_inline",
        "write it to a file, and name that in `dockerfile`",
    ),
    ("additional_contexts", BUILD_ELSEWHERE),
    ("cache_from", BUILD_ELSEWHERE),
    ("cache_to", BUILD_ELSEWHERE),
    ("extra_hosts", BUILD_ELSEWHERE),
    ("isolation", "that is of Windows; leave it out"),
    ("labels", "write LABEL in the Dockerfile"),
    ("network", BUILD_ELSEWHERE),
    ("no_cache", BUILD_ELSEWHERE),
    (
        "platforms",
        "an image of this machine is built; leave it out",
    ),
    ("privileged", BUILD_ELSEWHERE),
    ("pull", BUILD_ELSEWHERE),
    ("secrets", BUILD_ELSEWHERE),
    ("shm_size", BUILD_ELSEWHERE),
    ("ssh", BUILD_ELSEWHERE),
    ("tags", "write `image: NAME:TAG` beside `build`"),
    ("ulimits", BUILD_ELSEWHERE),
];

const BUILD_ELSEWHERE: &str = "leave it out; or build the image with docker, push it to this server's registry, and name it in `image`";

/// In `deploy`.
pub(crate) const DEPLOY: Unsupported = &[
    ("placement", "there is one machine; leave it out"),
    ("update_config", "leave it out"),
    ("rollback_config", "leave it out"),
    ("endpoint_mode", "leave it out"),
];

/// In `healthcheck`.
pub(crate) const HEALTHCHECK: Unsupported = &[("start_interval", "use interval")];
