/* Group 5: system calls and privileges. */
#define _GNU_SOURCE
#include "attack.h"
#include <asm/ldt.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void io_uring(int argc, char **argv) {
  (void)argc, (void)argv;
  char params[256] = {0};
  tried("io_uring_setup", syscall(SYS_io_uring_setup, 4, params));
  tried("io_uring_enter", syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0));
  tried("io_uring_register", syscall(SYS_io_uring_register, 0, 0, NULL, 0));
}

static void bpf(int argc, char **argv) {
  (void)argc, (void)argv;
  union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  tried("a map", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
  tried("a program", syscall(SYS_bpf, BPF_PROG_LOAD, &map, sizeof map));
}

static void userfault(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
  tried("user mode only", syscall(SYS_userfaultfd, O_CLOEXEC | 1));
  tried("/dev/userfaultfd", open("/dev/userfaultfd", O_RDWR));
}

static void keys(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
  tried("add_key", syscall(SYS_add_key, "user", "attack", "x", 1, KEY_SPEC_PROCESS_KEYRING));
  tried("request_key", syscall(SYS_request_key, "user", "attack", NULL, 0));
}

static void perf(int argc, char **argv) {
  (void)argc, (void)argv;
  struct perf_event_attr about = {.type = PERF_TYPE_SOFTWARE, .size = sizeof about};
  tried("of itself", syscall(SYS_perf_event_open, &about, 0, -1, -1, 0));
  tried("of a processor", syscall(SYS_perf_event_open, &about, -1, 0, -1, 0));
}

/* As "shocker": any inode of a file system by its number. */
static void handles(int argc, char **argv) {
  (void)argc, (void)argv;
  struct { struct file_handle head; unsigned char bytes[128]; } handle = {.head = {.handle_bytes = 128}};
  int mount_id, root = open("/", O_RDONLY);
  if (name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount_id, 0) < 0)
    noted("no handle of / (%s): one by hand", strerrorname_np(errno));
  if (handle.head.handle_bytes == 128) {
    handle.head.handle_bytes = 8;
    handle.head.handle_type = 1;
    handle.bytes[0] = 2;
  }
  tried("open_by_handle_at", open_by_handle_at(root, &handle.head, O_RDONLY));
}

static void modules(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("init_module", syscall(SYS_init_module, "x", 1, ""));
  tried("finit_module", syscall(SYS_finit_module, open("/proc/self/exe", O_RDONLY), "", 0));
  tried("delete_module", syscall(SYS_delete_module, "attack", O_NONBLOCK));
}

static void machine(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
  tried("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0));
  tried("reboot", syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, NULL));
  tried("swapon", swapon("/tmp/none", 0));
  tried("acct", acct("/tmp/none"));
  tried("quotactl", syscall(SYS_quotactl, 0x80000100, NULL, 0, NULL));
  tried("sethostname", sethostname("attack", 6));
  tried("iopl", iopl(3));
  tried("ioperm", ioperm(0x80, 1, 1));
  tried("vhangup", vhangup());
  tried("fanotify_init", syscall(SYS_fanotify_init, 0, O_RDONLY));
  tried("lookup_dcookie", syscall(212, 0, NULL, 0));
}

static void make_node(int argc, char **argv) {
  (void)argc, (void)argv;
  static const struct { const char *name; mode_t kind; unsigned major, minor; } nodes[] = {
      {"disk", S_IFBLK, 8, 0}, {"virtual-disk", S_IFBLK, 254, 0}, {"mem", S_IFCHR, 1, 1}, {"kmsg", S_IFCHR, 1, 11}};
  char path[64];
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
    snprintf(path, sizeof path, "/tmp/node-%s", nodes[i].name);
    if (mknod(path, nodes[i].kind | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0) {
      tried(nodes[i].name, -1);
      continue;
    }
    noted("%s is made", path);
    int fd = open(path, O_RDWR);
    /* A device that the machine lacks cannot be opened either, but nobody forbade it. */
    tried(nodes[i].name, fd);
    unlink(path);
  }
}

static void device_nodes(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const names[] = {"mem", "kmem", "port", "kmsg", "sda", "vda", "fuse", "kvm", "net/tun",
                                      "loop-control", "loop0", "mapper/control", "vhost-net", "input/event0"};
  char path[64];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "/dev/%s", names[i]);
    tried(path, open(path, O_RDWR | O_NONBLOCK));
  }
}

/* PATH: a copy of this program that is set-user-id root, or has file capabilities. */
static void privileged_file(int argc, char **argv) {
  const char *path = argument(argc, argv, 1);
  int ends[2];
  char got[512] = "", kept[64];
  struct stat what;
  if (stat(path, &what) < 0 || pipe(ends) < 0) {
    tried("finding the program", -1);
    return;
  }
  noted("its mode is %o, its owner %d, file capabilities: %s", what.st_mode, what.st_uid,
        getxattr(path, "security.capability", kept, sizeof kept) > 0 ? "some" : "none");
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    /* Else it would take itself for a function. */
    execl(path, path, "privileges", (char *)NULL);
    printf("\"answer\":\"%s\"", strerrorname_np(errno));
    fflush(stdout);
    _exit(0);
  }
  close(ends[1]);
  if (read(ends[0], got, sizeof got - 1) <= 0) told("its answer", "SIGNAL");
  waitpid(child, NULL, 0);
  char *found = strstr(got, "\"answer\":\""), *end = found ? strchr(found + 10, '"') : NULL;
  if (end) {
    noted("it says: %s", end + 2);
    *end = 0;
    told("as it", found + 10);
  }
}

/* Whether this process holds any capability over what is not its own. */
static void privileges(int argc, char **argv) {
  (void)argc, (void)argv;
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {{0}};
  syscall(SYS_capget, &head, sets);
  noted("effective %08x%08x, euid %d, uid %d", sets[1].effective, sets[0].effective, geteuid(), getuid());
  told("privileges", sets[0].effective | sets[1].effective ? "capabilities" :
       geteuid() != getuid() ? "another user" : "nothing gained");
}

static void gain(int argc, char **argv) {
  (void)argc, (void)argv;
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
  tried("capset", syscall(SYS_capset, &head, all));
  tried("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
  tried("no_new_privs off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  tried("seccomp off", prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
  tried("keep capabilities", prctl(PR_SET_SECUREBITS, 0x3f, 0, 0, 0));
}

static void other_users(int argc, char **argv) {
  (void)argc, (void)argv;
  gid_t groups[] = {0};
  tried("uid 4242", setresuid(4242, 4242, 4242));
  tried("uid 100000", setresuid(100000, 100000, 100000));
  tried("gid 4242", setresgid(4242, 4242, 4242));
  tried("groups", setgroups(1, groups));
  int map = open("/proc/self/uid_map", O_WRONLY);
  tried("uid_map", map < 0 ? -1 : write(map, "0 0 4294967295", 14));
}

static void person(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("ADDR_NO_RANDOMIZE", personality(ADDR_NO_RANDOMIZE));
  tried("READ_IMPLIES_EXEC", personality(READ_IMPLIES_EXEC));
}

static void ldt(int argc, char **argv) {
  (void)argc, (void)argv;
#if defined __x86_64__
  struct user_desc entry = {.entry_number = 0, .limit = 1};
  tried("modify_ldt", syscall(SYS_modify_ldt, 1, &entry, sizeof entry));
#else
  told("modify_ldt", "ENOSYS");
#endif
}

/* A jump of a day, if it were allowed: the runner watches the clock. */
static void clocks(int argc, char **argv) {
  (void)argc, (void)argv;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  struct timeval same = {now.tv_sec, now.tv_nsec / 1000};
  struct timex offset = {.modes = ADJ_OFFSET, .offset = 0};
  tried("clock_settime", clock_settime(CLOCK_REALTIME, &now));
  tried("settimeofday", settimeofday(&same, NULL));
  tried("adjtimex", adjtimex(&offset));
}

static void real_time(int argc, char **argv) {
  (void)argc, (void)argv;
  struct sched_param first = {.sched_priority = 1};
  struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; }
      deadline = {48, 6, 0, 0, 0, 10000000, 30000000, 30000000};
  tried("SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &first));
  tried("SCHED_RR", sched_setscheduler(0, SCHED_RR, &first));
  tried("SCHED_DEADLINE", syscall(SYS_sched_setattr, 0, &deadline, 0));
  tried("nice -20", setpriority(PRIO_PROCESS, 0, -20));
}

static void terminal(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const paths[] = {"/dev/tty", "/dev/console", "/dev/tty0", "/dev/ttyS0", "/dev/ptmx"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    int fd = open(paths[i], O_RDWR | O_NOCTTY | O_NONBLOCK);
    tried(paths[i], fd < 0 ? -1 : ioctl(fd, TIOCSTI, "x"));
  }
}

static void pages(int argc, char **argv) {
  (void)argc, (void)argv;
  void *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  tried("page 0", low == MAP_FAILED ? -1 : 0);
  size_t size = 256 << 20;
  void *locked = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  tried("256 MiB locked", locked == MAP_FAILED ? -1 : mlock(locked, size));
  void *huge = mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  tried("huge page", huge == MAP_FAILED ? -1 : 0);
}

static void status(int argc, char **argv) {
  (void)argc, (void)argv;
  static const struct { const char *key, *wanted; } lines[] = {
      {"Seccomp:", "2"}, {"NoNewPrivs:", "1"}, {"CapEff:", "0000000000000000"}, {"CapPrm:", "0000000000000000"},
      {"CapInh:", "0000000000000000"}, {"CapBnd:", "0000000000000000"}, {"CapAmb:", "0000000000000000"}};
  char line[256];
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof line, file)) {
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
      size_t length = strlen(lines[i].key);
      if (strncmp(line, lines[i].key, length) != 0) continue;
      char *value = strtok(line + length, " \t\n");
      told(lines[i].key, value && strcmp(value, lines[i].wanted) == 0 ? "as stated" : "otherwise");
      noted("%s %s", lines[i].key, value ? value : "?");
    }
  }
  if (file) fclose(file);
}

const struct attack calls[] = {
    {"io_uring", io_uring, 0},
    {"bpf", bpf, 0},
    {"userfaultfd", userfault, 0},
    {"keyrings", keys, 0},
    {"perf", perf, 0},
    {"open_by_handle_at", handles, 0},
    {"kernel-modules", modules, 0},
    {"machine", machine, 0},
    {"mknod", make_node, 0},
    {"device-nodes", device_nodes, 0},
    {"privileged-file", privileged_file, 0},
    {"privileges", privileges, 0},
    {"gain-privileges", gain, 0},
    {"other-users", other_users, 0},
    {"personality", person, 0},
    {"modify_ldt", ldt, 0},
    {"clock_settime", clocks, 0},
    {"real-time", real_time, 0},
    {"terminal", terminal, 0},
    {"pages", pages, 0},
    {"status", status, 0},
    {0},
};
