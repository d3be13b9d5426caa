/* One static program with all attacks. As a function it polls the Runtime API, and each event names an
 * attack: "NAME ARGUMENT…". With arguments it runs that attack and prints its answer, so that any other
 * container engine can be asked the same. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct attack *groups[] = {mounts, kernel, descriptors, processes, sockets,
                                        calls,  floods, network,     leftovers};
static char words[512], detail[3072];
int result_fd = -1;

static void add(char *list, size_t room, const char *separator, const char *text) {
  size_t have = strlen(list);
  snprintf(list + have, room - have, "%s%s", have ? separator : "", text);
}

void told(const char *what, const char *word) {
  char padded[sizeof words + 2], wanted[128];
  snprintf(padded, sizeof padded, "|%s|", words);
  snprintf(wanted, sizeof wanted, "|%s|", word);
  if (!strstr(padded, wanted)) add(words, sizeof words, "|", word);
  noted("%s: %s", what, word);
}

void tried(const char *what, long result) {
  const char *name = result < 0 ? strerrorname_np(errno) : "done";
  told(what, name ? name : "unknown error");
}

void noted(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  add(detail, sizeof detail, "; ", line);
}

void conclude(void) {
  char message[sizeof words + sizeof detail + 2];
  int length = snprintf(message, sizeof message, "%s\n%s", words, detail);
  if (write(result_fd, message, (size_t)length) != length) _exit(3);
  _exit(0);
}

const char *argument(int argc, char **argv, int index) {
  if (index < argc) return argv[index];
  told("argument", "missing argument");
  conclude();
}

static const struct attack *find(const char *name) {
  for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
    for (const struct attack *at = groups[group]; at->name; at++)
      if (strcmp(at->name, name) == 0) return at;
  return NULL;
}

static void in_json(char *to, size_t room, const char *from) {
  size_t have = 0;
  for (; *from && have + 2 < room; from++) {
    unsigned char c = (unsigned char)*from;
    if (c == '"' || c == '\\') to[have++] = '\\';
    to[have++] = c < 32 || c > 126 ? ' ' : (char)c;
  }
  to[have] = 0;
}

/* Waits for the child's message, or for its end without one. */
static void collect(int fd, pid_t child) {
  char message[sizeof words + sizeof detail + 2] = "";
  ssize_t got = 0;
  int status = 0, ended = 0;
  while (!ended) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    ended = waitpid(child, &status, WNOHANG) == child;
    if (poll(&ready, 1, ended ? 0 : 50) > 0 && (ready.revents & POLLIN)) {
      got = read(fd, message, sizeof message - 1);
      break;
    }
  }
  if (!ended) waitpid(child, &status, 0);
  words[0] = detail[0] = 0;
  if (got > 0) {
    message[got] = 0;
    char *line = strchr(message, '\n');
    if (line) *line++ = 0;
    snprintf(words, sizeof words, "%.511s", message);
    snprintf(detail, sizeof detail, "%s", line ? line : "");
  } else if (WIFSIGNALED(status)) {
    const char *name = sigabbrev_np(WTERMSIG(status));
    snprintf(words, sizeof words, "SIG%s", name ? name : "?");
  } else {
    snprintf(words, sizeof words, "ended without an answer");
    noted("exit status %d", WEXITSTATUS(status));
  }
}

void run_attack(char *command, char *out, size_t room) {
  char *argv[16], name[64], safe_words[1024], safe[6200];
  int argc = 0, ends[2];
  for (char *part = strtok(command, " "); part && argc < 16; part = strtok(NULL, " ")) argv[argc++] = part;
  snprintf(name, sizeof name, "%s", argc ? argv[0] : "");
  const struct attack *found = argc ? find(argv[0]) : NULL;
  words[0] = detail[0] = 0;
  if (!found) {
    told("name", "no such attack");
  } else if (found->in_main) {
    found->run(argc, argv);
  } else if (pipe(ends) < 0) {
    tried("pipe", -1);
  } else {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      result_fd = ends[1];
      found->run(argc, argv);
      conclude();
    }
    close(ends[1]);
    if (child < 0) tried("fork", -1);
    else collect(ends[0], child);
    close(ends[0]);
  }
  in_json(safe_words, sizeof safe_words, words);
  in_json(safe, sizeof safe, detail);
  snprintf(out, room, "{\"case\":\"%s\",\"answer\":\"%s\",\"detail\":\"%s\"}", name, safe_words, safe);
}

int main(int argc, char **argv) {
  static char command[4096], out[8192];
  const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
  signal(SIGPIPE, SIG_IGN);
  if (argc < 2 && api) return poll_runtime_api(api, getenv("ATTACK_ONCE") != NULL);
  if (argc < 2) {
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
      for (const struct attack *at = groups[group]; at->name; at++) puts(at->name);
    return 0;
  }
  for (int index = 1; index < argc; index++) add(command, sizeof command, " ", argv[index]);
  run_attack(command, out, sizeof out);
  puts(out);
  return 0;
}
