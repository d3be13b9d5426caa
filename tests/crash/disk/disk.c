/* What a process does to the files below one folder: written down in order, or made to fail.

   Preloaded into the server. Each call that changes a file, a name or what is durable goes through one
   lock, so that the log has the order in which the kernel was asked. SQLite and Rust's standard library
   come by these functions; what makes its system calls itself is not seen, which the test finds out by
   comparing the folder with what the log says it is.

   ROUSE_DISK_FOLDER  the folder, without symbolic links
   ROUSE_DISK_LOG     where the log goes: records as disk.py reads them
   ROUSE_DISK_FAULT   a file that says "CLASS N ERRNO MODE" when a call is to fail: the Nth one from then
                      on of the class write, sync, name or any; by "once" only that one, by "on" all that
                      follow, until the file is gone. The first failure makes a file FAULT.fired. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t length;
static int out = -1;
static char fault[PATH_MAX], fired[PATH_MAX + 8];

__attribute__((constructor)) static void begin(void) {
  const char *value = getenv("ROUSE_DISK_FOLDER");
  if (!value) return;
  snprintf(folder, sizeof folder, "%s", value);
  length = strlen(folder);
  if ((value = getenv("ROUSE_DISK_LOG")))
    out = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if ((value = getenv("ROUSE_DISK_FAULT"))) {
    snprintf(fault, sizeof fault, "%s", value);
    snprintf(fired, sizeof fired, "%s.fired", value);
  }
  /* Not for the launcher and what it starts. */
  unsetenv("LD_PRELOAD");
}

/* The absolute path of a name; 0 if it is not in the folder. The folder itself is "". */
static int below(int at, const char *name, char *path) {
  char whole[PATH_MAX * 2], link[64];
  ssize_t count = 0;
  if (!length) return 0;
  if (name && name[0] == '/') {
    snprintf(whole, sizeof whole, "%s", name);
  } else {
    snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
    count = syscall(SYS_readlinkat, AT_FDCWD, link, whole, PATH_MAX - 1);
    if (count < 0) return 0;
    whole[count] = 0;
    if (name && name[0]) snprintf(whole + count, sizeof whole - count, "/%s", name);
  }
  if (strncmp(whole, folder, length) || (whole[length] && whole[length] != '/')) return 0;
  snprintf(path, PATH_MAX, "%s", whole[length] ? whole + length + 1 : "");
  return 1;
}

struct record {
  uint8_t op, pad[3];
  uint32_t first, second;
  uint64_t file, offset;
} __attribute__((packed));

static void put(const void *bytes, size_t count) {
  const char *from = bytes;
  while (count > 0) {
    ssize_t done = syscall(SYS_write, out, from, count);
    if (done <= 0) _exit(97);
    from += done, count -= done;
  }
}

/* One write for the head and the first name, so that a reader of the length sees whole records mostly. */
static void say(char op, uint64_t file, uint64_t offset, const char *first, const void *second, size_t count) {
  if (out < 0) return;
  char head[sizeof(struct record) + PATH_MAX];
  struct record record = {.op = op, .first = strlen(first), .second = count, .file = file, .offset = offset};
  memcpy(head, &record, sizeof record);
  memcpy(head + sizeof record, first, record.first);
  put(head, sizeof record + record.first);
  put(second, count);
}

static uint64_t inode(int fd) {
  struct stat found;
  return syscall(SYS_fstat, fd, &found) ? 0 : found.st_ino;
}

static uint64_t inode_at(int at, const char *name) {
  struct stat found;
  return syscall(SYS_newfstatat, at, name, &found, AT_SYMLINK_NOFOLLOW) ? 0 : found.st_ino;
}

/* Whether this call, to `path`, fails now; then errno is set. Under the lock. */
static int fails(const char *class, const char *path) {
  static char last[128];
  static long passed;
  char said[128], asked[16], mode[8];
  long nth, number;
  if (!fault[0]) return 0;
  int fd = syscall(SYS_openat, AT_FDCWD, fault, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t count = syscall(SYS_read, fd, said, sizeof said - 1);
  syscall(SYS_close, fd);
  said[count < 0 ? 0 : count] = 0;
  if (sscanf(said, "%15s %ld %ld %7s", asked, &nth, &number, mode) != 4) return 0;
  if (strcmp(asked, "any") && strcmp(asked, class)) return 0;
  if (strcmp(said, last)) passed = 0, strcpy(last, said);
  passed++;
  if (passed < nth || (passed > nth && !strcmp(mode, "once"))) return 0;
  fd = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    syscall(SYS_write, fd, path, strlen(path));
    syscall(SYS_close, fd);
  }
  errno = number;
  return 1;
}

#define ENTER(AT, NAME) char path[PATH_MAX]; if (!below(AT, NAME, path))
#define LOCKED pthread_mutex_lock(&lock)
#define LEAVE(RESULT) do { long left = (RESULT); int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return left; } while (0)

static int opened(int at, const char *name, int flags, mode_t mode) {
  int changes = flags & (O_CREAT | O_TRUNC);
  if (!changes || (flags & O_TMPFILE) == O_TMPFILE) return syscall(SYS_openat, at, name, flags, mode);
  ENTER(at, name) return syscall(SYS_openat, at, name, flags, mode);
  LOCKED;
  uint64_t before = inode_at(at, name);
  if (!before && fails("name", path)) LEAVE(-1);
  int fd = syscall(SYS_openat, at, name, flags, mode);
  if (fd >= 0 && !before) say('C', inode(fd), 0, path, "", 0);
  else if (fd >= 0 && (flags & O_TRUNC)) say('T', inode(fd), 0, path, "", 0);
  LEAVE(fd);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int at, const char *name, int flags, ...) { MODE return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE return opened(at, name, flags | O_LARGEFILE, mode); }

static ssize_t written(int fd, const void *bytes, size_t count, off_t offset, int placed) {
  ENTER(fd, NULL) return placed ? syscall(SYS_pwrite64, fd, bytes, count, offset) : syscall(SYS_write, fd, bytes, count);
  LOCKED;
  if (fails("write", path)) LEAVE(-1);
  if (!placed) {
    struct stat found;
    int end = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    offset = end && !syscall(SYS_fstat, fd, &found) ? found.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
  }
  ssize_t done = placed ? syscall(SYS_pwrite64, fd, bytes, count, offset) : syscall(SYS_write, fd, bytes, count);
  if (done > 0) say('W', inode(fd), offset, path, bytes, done);
  LEAVE(done);
}

ssize_t write(int fd, const void *bytes, size_t count) { return written(fd, bytes, count, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return written(fd, bytes, count, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return written(fd, bytes, count, at, 1); }

/* Of several pieces the first: a short write is what every caller must expect. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
  ENTER(fd, NULL) return syscall(SYS_writev, fd, pieces, count);
  for (; count > 1 && !pieces->iov_len; count--) pieces++;
  return count > 0 ? written(fd, pieces->iov_base, pieces->iov_len, 0, 0) : 0;
}

/* Copies within the kernel are refused, and the caller reads and writes. */
ssize_t copy_file_range(int in, off64_t *from, int to, off64_t *at, size_t count, unsigned flags) {
  ENTER(to, NULL) return syscall(SYS_copy_file_range, in, from, to, at, count, flags);
  errno = EINVAL;
  return -1;
}
ssize_t sendfile64(int to, int in, off64_t *from, size_t count) {
  ENTER(to, NULL) return syscall(SYS_sendfile, to, in, from, count);
  errno = EINVAL;
  return -1;
}
ssize_t sendfile(int to, int in, off_t *from, size_t count) { return sendfile64(to, in, from, count); }

int ftruncate(int fd, off_t size) {
  ENTER(fd, NULL) return syscall(SYS_ftruncate, fd, size);
  LOCKED;
  if (fails("write", path)) LEAVE(-1);
  int done = syscall(SYS_ftruncate, fd, size);
  if (!done) say('T', inode(fd), size, path, "", 0);
  LEAVE(done);
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(int fd, long number) {
  ENTER(fd, NULL) return syscall(number, fd);
  LOCKED;
  if (fails("sync", path)) LEAVE(-1);
  int done = syscall(number, fd);
  if (!done) say('S', inode(fd), 0, path, "", 0);
  LEAVE(done);
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int named(char op, int at, const char *name, long number, long extra) {
  ENTER(at, name) return syscall(number, at, name, extra);
  LOCKED;
  if (fails("name", path)) LEAVE(-1);
  int done = syscall(number, at, name, extra);
  if (!done) say(op, inode_at(at, name), 0, path, "", 0);
  LEAVE(done);
}
int mkdir(const char *name, mode_t mode) { return named('M', AT_FDCWD, name, SYS_mkdirat, mode); }
int mkdirat(int at, const char *name, mode_t mode) { return named('M', at, name, SYS_mkdirat, mode); }
int unlink(const char *name) { return named('U', AT_FDCWD, name, SYS_unlinkat, 0); }
int rmdir(const char *name) { return named('U', AT_FDCWD, name, SYS_unlinkat, AT_REMOVEDIR); }
int unlinkat(int at, const char *name, int flags) { return named('U', at, name, SYS_unlinkat, flags); }

static int moved(char op, int at, const char *name, int to, const char *target, int flags) {
  char other[PATH_MAX];
  long number = op == 'L' ? SYS_linkat : SYS_renameat2;
  ENTER(to, target) return syscall(number, at, name, to, target, flags);
  if (!below(at, name, other)) snprintf(other, sizeof other, "/outside");
  LOCKED;
  if (fails("name", path)) LEAVE(-1);
  int done = syscall(number, at, name, to, target, flags);
  if (!done) say(op, inode_at(to, target), 0, other, path, strlen(path));
  LEAVE(done);
}
int rename(const char *name, const char *target) { return moved('R', AT_FDCWD, name, AT_FDCWD, target, 0); }
int renameat(int at, const char *name, int to, const char *target) { return moved('R', at, name, to, target, 0); }
int renameat2(int at, const char *name, int to, const char *target, unsigned flags) { return moved('R', at, name, to, target, flags); }
int link(const char *name, const char *target) { return moved('L', AT_FDCWD, name, AT_FDCWD, target, 0); }
int linkat(int at, const char *name, int to, const char *target, int flags) { return moved('L', at, name, to, target, flags); }
