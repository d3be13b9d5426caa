/* Looking for what another instance left, wherever there are bytes to read. It is told backwards what to look for:
 * else it would find its own copy of it. */
#define _GNU_SOURCE
#include "attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, MOST_OF_A_FILE = 4 << 20, LAST_PID = 4096 };

static const char *backwards;
static size_t length;
static int files, regions;
static char chunk[CHUNK];

static int in_bytes(const char *bytes, size_t size) {
  for (size_t at = 0; at + length <= size; at++) {
    size_t same = 0;
    while (same < length && bytes[at + same] == backwards[length - 1 - same]) same++;
    if (same == length) return 1;
  }
  return 0;
}

/* From `from` up to `to`; what cannot be read ends it. Chunks overlap. */
static int in_descriptor(int fd, off_t from, off_t to) {
  while (from < to) {
    size_t want = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
    ssize_t got = pread(fd, chunk, want, from);
    if (got <= 0) return 0;
    if (in_bytes(chunk, (size_t)got)) return 1;
    if ((size_t)got < length) return 0;
    from += got - (got == (ssize_t)want && from + got < to ? (ssize_t)length - 1 : 0);
  }
  return 0;
}

static int in_file(const char *path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return 0;
  int found = in_descriptor(fd, 0, MOST_OF_A_FILE);
  files++;
  close(fd);
  return found;
}

/* Not the programs that all read, and not what processes are asked for by themselves. */
static int visited(const char *path, const struct stat *what, int kind, struct FTW *where) {
  static const char *const apart[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/proc", "/sys"};
  (void)where;
  for (size_t i = 0; kind == FTW_D && i < sizeof apart / sizeof *apart; i++)
    if (strcmp(path, apart[i]) == 0) return FTW_SKIP_SUBTREE;
  if (in_bytes(path, strlen(path))) return FTW_STOP;
  return kind == FTW_F && S_ISREG(what->st_mode) && in_file(path) ? FTW_STOP : FTW_CONTINUE;
}

static int in_memory_of(pid_t pid) {
  char path[64], line[512];
  unsigned long from, to;
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int memory = open(path, O_RDONLY), found = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = memory < 0 ? NULL : fopen(path, "re");
  while (maps && fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx r", &from, &to) == 2 && from < to && to >> 47 == 0) {
      regions++;
      found |= in_descriptor(memory, (off_t)from, (off_t)to);
    }
  if (maps) fclose(maps);
  if (memory >= 0) close(memory);
  return found;
}

/* Deleted files and those in memory, which no folder shows. */
static int in_files_open_in(pid_t pid) {
  char path[300];
  struct stat what;
  int found = 0;
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
    if (stat(path, &what) == 0 && S_ISREG(what.st_mode)) found |= in_file(path);
  }
  if (folder) closedir(folder);
  return found;
}

static int in_shared_memory(void) {
  int found = 0;
  for (int index = 0; index < 64; index++) {
    struct shmid_ds about;
    int id = shmctl(index, SHM_STAT, &about);
    const char *at = id < 0 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);
    if (at != (void *)-1) found |= in_bytes(at, about.shm_segsz);
  }
  return found;
}

void search(const char *turned) {
  char path[64];
  int memory = 0, open_files = 0, said = 0;
  backwards = turned;
  length = strlen(turned);
  if (length < 16) return told("secret", "missing argument");
  told("the secret in files", nftw("/", visited, 16, FTW_PHYS | FTW_ACTIONRETVAL) == FTW_STOP ? "secret" : "none");
  for (pid_t pid = 1; pid < LAST_PID; pid++) {
    if (kill(pid, 0) < 0 && errno == ESRCH) continue;
    memory |= in_memory_of(pid);
    open_files |= in_files_open_in(pid);
    static const char *const texts[] = {"environ", "cmdline", "maps"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
      snprintf(path, sizeof path, "/proc/%d/%s", pid, texts[i]);
      said |= in_file(path);
    }
  }
  told("in memory", memory ? "secret" : "none");
  told("in open files", open_files ? "secret" : "none");
  told("in what processes tell", said ? "secret" : "none");
  told("in shared memory", in_shared_memory() ? "secret" : "none");
  noted("%d files and %d regions searched", files, regions);
}
