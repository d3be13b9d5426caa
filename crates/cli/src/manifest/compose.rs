//! Keys of the Compose specification that rouse does not serve, and what to do instead.

/// A key and the remedy.
type Unsupported = &'static [(&'static str, &'static str)];

/// At the top of the file.
pub(crate) const TOP: Unsupported = &[
    (
        "networks",
        "every service reaches every other by its name; leave it out",
    ),
    (
        "include",
        "give each file: rouse deploy -f one.yaml -f other.yaml",
    ),
    ("models", "rouse serves no models"),
];

/// In a resident service.
pub(crate) const SERVICE: Unsupported = &[
    (
        "networks",
        "every service reaches every other by its name; leave it out",
    ),
    (
        "network_mode",
        "each replica has a network of its own; leave it out",
    ),
    (
        "privileged",
        "nothing runs with privilege here; leave it out",
    ),
    (
        "cap_add",
        "nothing runs with capabilities here; leave it out",
    ),
    (
        "cap_drop",
        "all capabilities are dropped already; leave it out",
    ),
    (
        "security_opt",
        "no_new_privs and a seccomp filter are always on; leave it out",
    ),
    ("read_only", "the root is read-only already; leave it out"),
    ("user", "an image's own user is taken; leave it out"),
    (
        "env_file",
        "write the values in `environment`, or into the .env file beside the manifest",
    ),
    ("mem_limit", "use deploy.resources.limits.memory"),
    ("memswap_limit", "use deploy.resources.limits.memory"),
    ("cpus", "use deploy.resources.limits.cpus"),
    ("pids_limit", "use deploy.resources.limits.pids"),
    ("scale", "use deploy.replicas"),
    (
        "profiles",
        "leave the service out of this file, or deploy another file with -f",
    ),
    ("extends", "use a YAML anchor and a merge key: `<<: *other`"),
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
    ("init", "leave it out"),
    ("tty", "leave it out"),
    ("stdin_open", "leave it out"),
    (
        "platform",
        "only images of this machine's platform run; leave it out",
    ),
    (
        "pull_policy",
        "images come by `rouse image import`; leave it out",
    ),
    ("sysctls", "leave it out"),
    ("ulimits", "use deploy.resources.limits; leave it out"),
    (
        "develop",
        "run `rouse deploy` again after a change; leave it out",
    ),
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
    ("x-rouse-base", "use x-rouse.runtime"),
    (
        "x-rouse-secret-environment",
        "use x-rouse.secret_environment",
    ),
    ("x-rouse-egress", "use x-rouse.egress"),
    ("x-rouse-triggers", "use x-rouse.triggers"),
];

/// In `build`.
pub(crate) const BUILD: Unsupported = &[
    (
        "dockerfile",
        "the folder runs as it is; for an image: docker save, then `rouse image import`",
    ),
    (
        "dockerfile_inline",
        "the folder runs as it is; leave it out",
    ),
    ("args", "the folder runs as it is; leave it out"),
    ("target", "the folder runs as it is; leave it out"),
];

/// In `deploy`.
pub(crate) const DEPLOY: Unsupported = &[
    ("mode", "replicas are counted; use deploy.replicas"),
    ("placement", "there is one machine; leave it out"),
    (
        "restart_policy",
        "a replica that ends is started again, with backoff; leave it out",
    ),
    ("update_config", "leave it out"),
    ("rollback_config", "leave it out"),
    ("labels", "leave it out"),
    ("endpoint_mode", "leave it out"),
];

/// In `healthcheck`.
pub(crate) const HEALTHCHECK: Unsupported = &[
    (
        "test",
        "rouse asks over the network: `x-rouse-health: {path: /health}`, or a TCP connect without it",
    ),
    ("disable", "a TCP connect is always checked; leave it out"),
    ("start_interval", "use interval"),
];
