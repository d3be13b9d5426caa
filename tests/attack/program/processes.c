/* Group 4: other processes and what they share. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t foreign(int argc, char **argv) { return (pid_t)atoi(argument(argc, argv, 1)); }

/* Attaches and lets go again, since a tracee without its tracer would stay stopped. */
static long attach(enum __ptrace_request how, pid_t pid) {
  if (ptrace(how, pid, 0, 0) < 0) return -1;
  if (how == PTRACE_SEIZE) ptrace(PTRACE_INTERRUPT, pid, 0, 0);
  waitpid(pid, NULL, __WALL);
  ptrace(PTRACE_DETACH, pid, 0, 0);
  return 0;
}

/* PID: a process of the host. */
static void trace(int argc, char **argv) {
  pid_t pid = foreign(argc, argv);
  tried("attach to the host's process", attach(PTRACE_ATTACH, pid));
  tried("seize it", attach(PTRACE_SEIZE, pid));
  if (getpid() != 1) tried("attach to pid 1", attach(PTRACE_ATTACH, 1));
}

static void trace_own(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("be traced by the parent", ptrace(PTRACE_TRACEME, 0, 0, 0));
}

/* PID: a process of the host. */
static void memory(int argc, char **argv) {
  pid_t pid = foreign(argc, argv);
  char here[64], path[64];
  struct iovec local = {here, sizeof here}, remote = {(void *)0x400000, sizeof here};
  tried("process_vm_readv", process_vm_readv(pid, &local, 1, &remote, 1, 0));
  tried("process_vm_writev", process_vm_writev(pid, &local, 1, &remote, 1, 0));
  tried("process_madvise", syscall(SYS_process_madvise, -1, &remote, 1, 21 /* MADV_PAGEOUT */, 0));
  tried("move_pages", syscall(SYS_move_pages, pid, 0, NULL, NULL, NULL, 0));
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  tried("its mem", open(path, O_RDWR));
  snprintf(path, sizeof path, "/proc/%d/environ", pid);
  tried("its environ", open(path, O_RDONLY));
}

/* PID: a process of the host. */
static void pidfd(int argc, char **argv) {
  tried("pidfd_open", syscall(SYS_pidfd_open, foreign(argc, argv), 0));
  int own = (int)syscall(SYS_pidfd_open, 1, 0);
  tried("pidfd_getfd of pid 1", own < 0 ? -1 : syscall(SYS_pidfd_getfd, own, 0, 0));
  tried("kcmp", syscall(SYS_kcmp, getpid(), foreign(argc, argv), 0, 0, 0));
}

/* What a process of this instance counts and keeps, for the attacks of others on it. */
static struct {
  volatile int beats, signals;
  char secret[64];
} *held;

static void count(int signal) {
  (void)signal;
  held->signals++;
}

/* SECRET: leaves a process behind that holds it and counts. Started by the main process, which shows it to later
 * calls. */
static void hold(int argc, char **argv) {
  held = mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (held == MAP_FAILED || argc < 2) return tried("hold", -1);
  snprintf(held->secret, sizeof held->secret, "%s", argv[1]);
  signal(SIGURG, count);
  if (fork() == 0) {
    setsid();
    for (int fd = 0; fd < 64; fd++) close(fd);
    for (;; usleep(5000)) held->beats++;
  }
  told("hold", "holding");
}

/* SECRET: whether that process still counts, untouched. */
static void still_held(int argc, char **argv) {
  const char *secret = argument(argc, argv, 1);
  if (!held) return told("nothing is held", "lost");
  int before = held->beats;
  usleep(100000);
  noted("%d beats", held->beats);
  told("its beats", held->beats > before + 2 ? "whole" : "stopped");
  told("its secret", strcmp(held->secret, secret) == 0 ? "whole" : "changed");
  told("its signals", held->signals == 0 ? "whole" : "signalled");
}

/* PID…: processes of another instance, by the host's numbers. */
static void neighbours(int argc, char **argv) {
  char path[64];
  struct stat what;
  cpu_set_t set;
  for (int i = 1; i < argc; i++) {
    pid_t pid = (pid_t)atoi(argv[i]);
    tried("kill", kill(pid, 0));
    tried("pidfd_open", syscall(SYS_pidfd_open, pid, 0));
    tried("getsid", getsid(pid));
    tried("sched_getaffinity", sched_getaffinity(pid, sizeof set, &set));
    snprintf(path, sizeof path, "/proc/%d", pid);
    tried(path, stat(path, &what));
  }
}

/* The host's canary counts this signal, which nobody else heeds. */
static void kill_all(int argc, char **argv) {
  (void)argc, (void)argv;
  if (kill(-1, SIGURG) < 0) tried("kill(-1)", -1);
  else told("kill(-1)", "own processes");
}

/* PID: a process of the host. */
static void kill_host(int argc, char **argv) {
  pid_t pid = foreign(argc, argv);
  union sigval value = {.sival_int = 0};
  int ends[2];
  tried("kill", kill(pid, SIGURG));
  tried("its group", kill(-pid, SIGURG));
  tried("tgkill", syscall(SYS_tgkill, pid, pid, SIGURG));
  tried("sigqueue", sigqueue(pid, SIGURG, value));
  tried("SIGIO by F_SETOWN", pipe(ends) < 0 ? -1 : fcntl(ends[0], F_SETOWN, pid));
}

/* PID: a process of the host. */
static void settings(int argc, char **argv) {
  pid_t pid = foreign(argc, argv);
  struct rlimit limit = {0, 0};
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);
  tried("prlimit", prlimit(pid, RLIMIT_NOFILE, &limit, NULL));
  tried("setpriority", setpriority(PRIO_PROCESS, (id_t)pid, 19));
  tried("sched_setaffinity", sched_setaffinity(pid, sizeof cpus, &cpus));
  tried("ioprio_set", syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, 0));
  tried("migrate_pages", syscall(SYS_migrate_pages, pid, 0, NULL, NULL));
}

/* NAME: an abstract socket of the host. */
static void abstract(int argc, char **argv) {
  static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  const char *name = argument(argc, argv, 1);
  memcpy(at.sun_path + 1, name, strlen(name));
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
  for (int i = 0; i < 3; i++) tried("connect", connect(socket(AF_UNIX, kinds[i], 0), (void *)&at, size));
}

static void path_sockets(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const paths[] = {"/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket",
                                      "/run/containerd/containerd.sock", "/run/systemd/private", "/dev/log"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, paths[i]);
    tried(paths[i], connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at));
  }
}

/* KEY: of a shared memory segment, semaphores and message queue of the host, all with mode 0666. */
static void system_v(int argc, char **argv) {
  key_t key = (key_t)strtol(argument(argc, argv, 1), NULL, 0);
  struct shm_info info;
  tried("shmget", shmget(key, 0, 0));
  tried("semget", semget(key, 0, 0));
  tried("msgget", msgget(key, 0));
  for (int i = 0; i < 3; i++) {
    struct shmid_ds found;
    tried("shmctl by index", shmctl(i, SHM_STAT_ANY, &found));
  }
  if (shmctl(0, SHM_INFO, (struct shmid_ds *)&info) >= 0)
    told("segments in sight", info.used_ids ? "some" : "none");
}

/* NAME: of a message queue and of a shared memory file of the host, both with mode 0666. */
static void posix_ipc(int argc, char **argv) {
  char path[128];
  snprintf(path, sizeof path, "/%s", argument(argc, argv, 1));
  tried("mq_open", mq_open(path, O_RDWR));
  tried("mq_unlink", mq_unlink(path));
  snprintf(path, sizeof path, "/dev/shm/%s", argument(argc, argv, 1));
  tried("/dev/shm", open(path, O_RDWR));
  snprintf(path, sizeof path, "/dev/mqueue/%s", argument(argc, argv, 1));
  tried("/dev/mqueue", open(path, O_RDWR));
}

/* 0 if there is none, or none in sight. */
static pid_t parent_of(pid_t pid) {
  char path[64];
  int parent = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "re");
  if (file && fscanf(file, "%*d (%*[^)]) %*c %d", &parent) != 1) parent = 0;
  if (file) fclose(file);
  return parent;
}

int descends_from(pid_t ancestor) {
  for (pid_t pid = getpid(); pid > 0; pid = parent_of(pid))
    if (pid == ancestor) return 1;
  return 0;
}

/* Processes other than this one, what it descends from, and the first one. */
static void foreign_processes(int argc, char **argv) {
  (void)argc, (void)argv;
  int seen = 0, own = 0;
  for (pid_t pid = 1; pid < 65536; pid++) {
    if (kill(pid, 0) < 0 && errno == ESRCH) continue;
    own += pid == 1 || descends_from(pid);
    seen++;
  }
  noted("%d processes in sight", seen);
  told("others", seen > own ? "others" : "own only");
}

const struct attack processes[] = {
    {"ptrace", trace, 0},
    {"ptrace-own", trace_own, 0},
    {"process_vm", memory, 0},
    {"pidfd_getfd", pidfd, 0},
    {"hold", hold, 1},
    {"still-held", still_held, 0},
    {"neighbours", neighbours, 0},
    {"kill-all", kill_all, 0},
    {"kill-host", kill_host, 0},
    {"process-settings", settings, 0},
    {"abstract-socket", abstract, 0},
    {"path-sockets", path_sockets, 0},
    {"sysv-ipc", system_v, 0},
    {"posix-ipc", posix_ipc, 0},
    {"foreign-processes", foreign_processes, 0},
    {0},
};
