/* Group 1: mounts, namespaces, roots. */
#define _GNU_SOURCE
#include "attack.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void mount_tmpfs(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("tmpfs on /tmp", mount("attack-canary", "/tmp", "tmpfs", 0, NULL));
  tried("proc on /tmp", mount("attack-canary", "/tmp", "proc", 0, NULL));
  tried("sysfs on /tmp", mount("attack-canary", "/tmp", "sysfs", 0, NULL));
  tried("overlay on /tmp", mount("attack-canary", "/tmp", "overlay", 0, "lowerdir=/:/dev"));
}

static void mount_bind(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("bind / on /tmp", mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
  tried("shared propagation", mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL));
  tried("move /proc", mount("/proc", "/tmp", NULL, MS_MOVE, NULL));
}

static void mount_remount(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("/ writable", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
  tried("/ writable (bind)", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  tried("/proc/sys writable", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static void umount_mask(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const masks[] = {"/proc/kcore", "/proc/timer_list", "/proc/keys", "/proc/sys",
                                      "/sys/firmware", "/proc/acpi", "/dev/shm"};
  for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) tried(masks[i], umount2(masks[i], MNT_DETACH));
}

static void fs_open(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
  tried("fspick", syscall(SYS_fspick, AT_FDCWD, "/", 0));
  tried("fsconfig", syscall(SYS_fsconfig, 0, 0, NULL, NULL, 0));
  tried("fsmount", syscall(SYS_fsmount, 0, 0, 0));
}

static void tree(int argc, char **argv) {
  (void)argc, (void)argv;
  struct { uint64_t set, clear, propagation, userns; } attributes = {0, 1, 0, 0};
  tried("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
  tried("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
  tried("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof attributes));
}

static void unshare_user(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("NEWUSER", unshare(CLONE_NEWUSER));
}

static void unshare_others(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("NEWNS", unshare(CLONE_NEWNS));
  tried("NEWNET", unshare(CLONE_NEWNET));
  tried("NEWPID", unshare(CLONE_NEWPID));
  tried("NEWIPC", unshare(CLONE_NEWIPC));
  tried("NEWUTS", unshare(CLONE_NEWUTS));
  tried("NEWCGROUP", unshare(CLONE_NEWCGROUP));
  tried("NEWTIME", unshare(CLONE_NEWTIME));
}

static void clone_user(int argc, char **argv) {
  (void)argc, (void)argv;
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  tried("clone NEWUSER", child);
  child = syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  tried("clone NEWNS NEWPID", child);
}

static void clone_three(int argc, char **argv) {
  (void)argc, (void)argv;
  struct clone_args plain = {.exit_signal = SIGCHLD};
  struct clone_args user = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
  long child = syscall(SYS_clone3, &plain, sizeof plain);
  if (child == 0) _exit(0);
  tried("clone3", child);
  child = syscall(SYS_clone3, &user, sizeof user);
  if (child == 0) _exit(0);
  tried("clone3 NEWUSER", child);
}

/* PID: a process of the host. */
static void set_ns(int argc, char **argv) {
  static const char *const kinds[] = {"mnt", "net", "pid", "user", "ipc", "uts", "cgroup"};
  char path[128];
  snprintf(path, sizeof path, "/proc/%s/ns/mnt", argument(argc, argv, 1));
  tried("the host's mnt by its pid", open(path, O_RDONLY));
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    snprintf(path, sizeof path, "/proc/1/ns/%s", kinds[i]);
    int fd = open(path, O_RDONLY);
    tried(path, fd < 0 ? -1 : setns(fd, 0));
    close(fd);
  }
  int process = (int)syscall(SYS_pidfd_open, 1, 0);
  tried("by a pidfd", process < 0 ? -1 : setns(process, CLONE_NEWNS | CLONE_NEWPID));
}

/* FILE: a file of the host that the root outside of this one has. */
static void chroot_kept(int argc, char **argv) {
  const char *file = argument(argc, argv, 1);
  char path[512] = "";
  int kept = open("/", O_RDONLY | O_DIRECTORY);
  mkdir("/tmp/jail", 0755);
  long made = chroot("/tmp/jail");
  tried("chroot", made);
  if (made == 0 && fchdir(kept) == 0) {
    for (int up = 0; up < 32; up++) strcat(path, "../");
    tried("chroot to what lies above", chdir(path) == 0 ? chroot(".") : -1);
  }
  tried("the host's file", open(file, O_RDONLY));
}

static void pivot(int argc, char **argv) {
  (void)argc, (void)argv;
  mkdir("/tmp/old", 0755);
  tried("pivot_root . .", syscall(SYS_pivot_root, ".", "."));
  tried("pivot_root /tmp", syscall(SYS_pivot_root, "/tmp", "/tmp/old"));
}

/* FILE: a file of the host. */
static void upwards(int argc, char **argv) {
  static const char *const roots[] = {"/..", "/proc/1/root", "/proc/self/root/..", "/proc/self/cwd/../../../..",
                                      "/proc/1/cwd", "/proc/thread-self/root/../.."};
  char path[512];
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
    snprintf(path, sizeof path, "%s%s", roots[i], argument(argc, argv, 1));
    tried(roots[i], open(path, O_RDONLY));
  }
}

const struct attack mounts[] = {
    {"mount", mount_tmpfs, 0},
    {"mount-bind", mount_bind, 0},
    {"mount-remount", mount_remount, 0},
    {"umount-mask", umount_mask, 0},
    {"fsopen", fs_open, 0},
    {"open_tree", tree, 0},
    {"unshare-user", unshare_user, 0},
    {"unshare-others", unshare_others, 0},
    {"clone-namespaces", clone_user, 0},
    {"clone3", clone_three, 0},
    {"setns", set_ns, 0},
    {"chroot-kept-fd", chroot_kept, 0},
    {"pivot_root", pivot, 0},
    {"upwards", upwards, 0},
    {0},
};
