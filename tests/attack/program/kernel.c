/* Group 2: what steers or tells of the machine, by /proc, /sys and cgroups. */
#define _GNU_SOURCE
#include "attack.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Writes to it for real; a null device in its place takes everything to nowhere. */
static void put(const char *path, const char *text) {
  struct stat what;
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    tried(path, -1);
  } else if (fstat(fd, &what) == 0 && S_ISCHR(what.st_mode) && what.st_rdev == makedev(1, 3)) {
    told(path, "null device");
  } else {
    tried(path, write(fd, text, strlen(text)));
  }
  if (fd >= 0) close(fd);
}

/* Reads it; "content" if there is any. */
static void get(const char *path) {
  char text[512];
  DIR *folder = opendir(path);
  if (folder) {
    int entries = 0;
    for (struct dirent *entry; (entry = readdir(folder));) entries += entry->d_name[0] != '.';
    told(path, entries ? "content" : "empty");
    closedir(folder);
    return;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    tried(path, -1);
    return;
  }
  ssize_t got = read(fd, text, sizeof text);
  if (got < 0) tried(path, -1);
  else told(path, got ? "content" : "empty");
  close(fd);
}

static void core_pattern(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/sys/kernel/core_pattern", "|/tmp/attack");
}

static void sysrq(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/sysrq-trigger", "h");
  put("/proc/sys/kernel/sysrq", "1");
}

static void modprobe(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/sys/kernel/modprobe", "/tmp/attack");
  put("/proc/sys/kernel/usermodehelper/bset", "1");
}

static void binfmt(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/sys/fs/binfmt_misc/register", ":attack:M::ATTACK::/tmp/attack:");
  tried("mounting it", mount("attack-canary", "/tmp", "binfmt_misc", 0, NULL));
}

static void release_agent(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const groups[] = {"memory", "pids", "cpu", "devices", "freezer", "unified", "rdma", ""};
  char path[128];
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/release_agent", groups[i]);
    put(path, "/tmp/attack");
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/notify_on_release", groups[i]);
    put(path, "1");
  }
}

static void cgroup_write(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1");
  put("/sys/fs/cgroup/pids/pids.max", "max");
  put("/sys/fs/cgroup/devices/devices.allow", "a");
  put("/sys/fs/cgroup/memory.max", "max");
  put("/sys/fs/cgroup/cgroup.procs", "1");
  tried("mkdir", mkdir("/sys/fs/cgroup/memory/attack", 0755));
}

static void cgroup_mount(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("version 1", mount("attack-canary", "/tmp", "cgroup", 0, "memory"));
  tried("rdma", mount("attack-canary", "/tmp", "cgroup", 0, "rdma"));
  tried("version 2", mount("attack-canary", "/tmp", "cgroup2", 0, NULL));
}

static void sysctls(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/sys/vm/drop_caches", "0");
  put("/proc/sys/vm/panic_on_oom", "0");
  put("/proc/sys/kernel/panic", "0");
  put("/proc/sys/kernel/hostname", "attack");
  put("/proc/sys/kernel/domainname", "attack");
  put("/proc/sys/kernel/ns_last_pid", "1");
  put("/proc/sys/kernel/randomize_va_space", "0");
  put("/proc/sys/fs/suid_dumpable", "2");
  put("/proc/sys/net/ipv4/ip_forward", "1");
  put("/proc/irq/default_smp_affinity", "1");
  put("/proc/mtrr", "disable=0");
}

static void readings(int argc, char **argv) {
  (void)argc, (void)argv;
  get("/proc/kcore");
  get("/proc/keys");
  get("/proc/timer_list");
  get("/proc/sched_debug");
  get("/proc/latency_stats");
}

static void more_readings(int argc, char **argv) {
  (void)argc, (void)argv;
  get("/proc/kmsg");
  get("/proc/slabinfo");
  get("/proc/vmallocinfo");
  get("/proc/kpagecount");
  get("/proc/acpi");
  get("/proc/scsi");
  get("/sys/firmware");
  get("/sys/kernel/debug");
  get("/sys/kernel/security");
  get("/sys/devices/virtual/powercap");
  get("/proc/interrupts");
}

/* First fields other than zeros: addresses of the kernel. */
static void addresses(const char *path) {
  char line[512];
  FILE *file = fopen(path, "re");
  if (!file) {
    tried(path, -1);
    return;
  }
  const char *word = "empty";
  while (fgets(line, sizeof line, file)) {
    word = "no addresses";
    if (strspn(line, " 0-") < strcspn(line, " \t:")) {
      word = "addresses";
      break;
    }
  }
  told(path, word);
  fclose(file);
}

static void kernel_addresses(int argc, char **argv) {
  (void)argc, (void)argv;
  addresses("/proc/kallsyms");
  addresses("/proc/iomem");
}

static void kernel_log(int argc, char **argv) {
  (void)argc, (void)argv;
  char text[256];
  tried("syslog", klogctl(3, text, sizeof text));
  get("/dev/kmsg");
}

static void oom_score(int argc, char **argv) {
  (void)argc, (void)argv;
  put("/proc/self/oom_score_adj", "-1000");
  put("/proc/1/oom_score_adj", "-1000");
}

/* PATH: where the host has the data folder. Its name must not be told. */
static void host_paths(int argc, char **argv) {
  static const char *const files[] = {"/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/cgroup",
                                      "/proc/self/maps", "/proc/1/cmdline"};
  static char text[262144];
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    int fd = open(files[i], O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    for (ssize_t got; fd >= 0 && have < sizeof text - 1 &&
                      (got = read(fd, text + have, sizeof text - 1 - have)) > 0;) have += (size_t)got;
    for (size_t at = 0; at < have; at++) text[at] = text[at] ? text[at] : ' ';
    text[have] = 0;
    if (fd >= 0) close(fd);
    told(files[i], strstr(text, argument(argc, argv, 1)) ? "host path" : "not told");
  }
}

const struct attack kernel[] = {
    {"core_pattern", core_pattern, 0},
    {"sysrq", sysrq, 0},
    {"modprobe-path", modprobe, 0},
    {"binfmt_misc", binfmt, 0},
    {"release_agent", release_agent, 0},
    {"cgroup-write", cgroup_write, 0},
    {"cgroup-mount", cgroup_mount, 0},
    {"sysctls", sysctls, 0},
    {"read-kernel", readings, 0},
    {"read-more", more_readings, 0},
    {"kernel-addresses", kernel_addresses, 0},
    {"kernel-log", kernel_log, 0},
    {"oom_score_adj", oom_score, 0},
    {"host-paths", host_paths, 0},
    {0},
};
