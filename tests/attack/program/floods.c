/* Group 6: using up what all share. Each stops by itself at a bound past which nothing has capped it, so
 * that it can be tried where there is no limit. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, MEMORY = 1024 /* MiB */, PROCESSES = 2000, FILES = 70000, INODES = 150000 };
static char block[MIB];

static void end(const char *what, int reached, int bound) {
  noted("%d %s, %s", reached, what, reached < bound ? strerrorname_np(errno) : "the attack's own bound");
  told(what, reached < bound ? "capped" : "unbounded");
}

/* The children wait for a second and go. */
static void forks(int argc, char **argv) {
  (void)argc, (void)argv;
  static pid_t children[PROCESSES];
  int made = 0;
  for (; made < PROCESSES; made++) {
    children[made] = fork();
    if (children[made] == 0) {
      pause();
      _exit(0);
    }
    if (children[made] < 0) break;
  }
  int reason = errno;
  struct timespec second = {1, 0};
  nanosleep(&second, NULL);
  for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
  while (wait(NULL) > 0) {
  }
  errno = reason;
  end("processes", made, PROCESSES);
}

/* All processors, for SECONDS. */
static void spin(int argc, char **argv) {
  time_t until = time(NULL) + atoi(argument(argc, argv, 1));
  for (int i = 0; i < 16; i++)
    if (fork() == 0) {
      while (time(NULL) < until) {
      }
      _exit(0);
    }
  while (time(NULL) < until) usleep(10000);
  told("16 processes that compute", "ran");
}

static void heap(int argc, char **argv) {
  (void)argc, (void)argv;
  int have = 0;
  for (; have < MEMORY; have++) {
    char *more = malloc(MIB);
    if (!more) break;
    memset(more, 1, MIB);
  }
  end("MiB of heap", have, MEMORY);
}

static void fill(const char *what, int fd) {
  int have = 0;
  if (fd < 0) {
    tried(what, -1);
    return;
  }
  while (have < MEMORY && write(fd, block, MIB) == MIB) have++;
  end(what, have, MEMORY);
  close(fd);
}

static void memfd(int argc, char **argv) {
  (void)argc, (void)argv;
  fill("MiB of memfd", memfd_create("attack", 0));
}

static void tmp(int argc, char **argv) {
  (void)argc, (void)argv;
  fill("MiB in /tmp", open("/tmp/flood", O_CREAT | O_WRONLY | O_TRUNC, 0600));
  unlink("/tmp/flood");
}

static void shm(int argc, char **argv) {
  (void)argc, (void)argv;
  fill("MiB in /dev/shm", open("/dev/shm/flood", O_CREAT | O_WRONLY | O_TRUNC, 0600));
  unlink("/dev/shm/flood");
}

static void inodes(int argc, char **argv) {
  (void)argc, (void)argv;
  char path[64];
  int made = 0, reason;
  mkdir("/tmp/many", 0755);
  for (; made < INODES; made++) {
    snprintf(path, sizeof path, "/tmp/many/%d", made);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) break;
    close(fd);
  }
  reason = errno;
  for (int i = 0; i < made; i++) {
    snprintf(path, sizeof path, "/tmp/many/%d", i);
    unlink(path);
  }
  rmdir("/tmp/many");
  errno = reason;
  end("files in /tmp", made, INODES);
}

static void fds(int argc, char **argv) {
  (void)argc, (void)argv;
  int made = 0;
  while (made < FILES && open("/dev/null", O_RDONLY) >= 0) made++;
  end("open files", made, FILES);
}

/* Buffers of pipes and sockets: memory of the kernel. */
static void buffers(int argc, char **argv) {
  (void)argc, (void)argv;
  int made = 0, bound = 200, pair[2], size = MIB;
  for (; made < bound; made++) {
    if (pipe2(pair, O_NONBLOCK) < 0) break;
    fcntl(pair[1], F_SETPIPE_SZ, size);
    while (write(pair[1], block, 65536) > 0) {
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0) break;
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    while (write(pair[1], block, 65536) > 0) {
    }
  }
  end("pairs with full buffers", made, bound);
}

/* MIB of output without a line's end. */
static void log_line(int argc, char **argv) {
  int wanted = atoi(argument(argc, argv, 1)), written = 0;
  memset(block, 'y', MIB);
  for (; written < wanted; written++)
    for (size_t at = 0; at < MIB;) {
      ssize_t some = write(STDOUT_FILENO, block + at, MIB - at);
      if (some <= 0) {
        told("output", "capped");
        return;
      }
      at += (size_t)some;
    }
  noted("%d MiB", written);
  told("output", "taken");
}

/* An answer that does not end: it is cut, and this call's outcome is the runner's to read. */
static void endless(int argc, char **argv) {
  (void)argc, (void)argv;
  char head[512];
  int fd = dial(api_host, api_port), sent = 0;
  int length = snprintf(head, sizeof head,
      "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n",
      call_id);
  memset(block, 'z', 65536);
  if (fd < 0 || write(fd, head, (size_t)length) != length) {
    tried("response", -1);
    return;
  }
  for (; sent < 65536 && write(fd, "10000\r\n", 7) == 7; sent++) {
    ssize_t done = 0, some = 0;
    while (done < 65536 && (some = write(fd, block, (size_t)(65536 - done))) > 0) done += some;
    if (done < 65536 || write(fd, "\r\n", 2) != 2) break;
  }
  call_id[0] = 0;
}

static void headers(int argc, char **argv) {
  (void)argc, (void)argv;
  static char text[1 << 20];
  char body[256];
  size_t have = (size_t)snprintf(text, sizeof text,
      "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: api\r\nConnection: close\r\n", call_id);
  for (int i = 0; i < 10000; i++) have += (size_t)snprintf(text + have, sizeof text - have, "x-attack-%d: 1\r\n", i);
  have += (size_t)snprintf(text + have, sizeof text - have, "Content-Length: 2\r\n\r\n{}");
  int status = request(api_host, api_port, text, have, body, sizeof body);
  if (status > 0) {
    char word[16];
    snprintf(word, sizeof word, "%d", status);
    told("10000 headers", word);
  } else {
    told("10000 headers", "closed");
  }
}

/* Sleeps for SECONDS, deaf to being asked to end. */
static void deaf(int argc, char **argv) {
  static const int polite[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
  for (int i = 0; i < 4; i++) signal(polite[i], SIG_IGN);
  struct timespec rest = {atoi(argument(argc, argv, 1)), 0};
  printf("deaf in %s.\n", call_id);
  fflush(stdout);
  nanosleep(&rest, NULL);
  told("deaf", "slept");
}

/* A child with a session of its own that computes for SECONDS after its call is answered. */
static void daemonise(int argc, char **argv) {
  time_t until = time(NULL) + atoi(argument(argc, argv, 1));
  if (fork() == 0) {
    setsid();
    for (int fd = 0; fd < 64; fd++) close(fd);
    if (fork() == 0)
      while (time(NULL) < until) {
      }
    _exit(0);
  }
  told("a daemon", "started");
}

const struct attack floods[] = {
    {"fork-bomb", forks, 0},
    {"spin", spin, 0},
    {"heap", heap, 1},
    {"memfd", memfd, 1},
    {"tmpfs", tmp, 1},
    {"shm", shm, 1},
    {"inodes", inodes, 1},
    {"open-files", fds, 0},
    {"kernel-buffers", buffers, 0},
    {"log-line", log_line, 0},
    {"endless-response", endless, 1},
    {"headers", headers, 0},
    {"deaf", deaf, 1},
    {"daemon", daemonise, 0},
    {0},
};
