/* The smallest handler, static, for benchmarks. With AWS_LAMBDA_RUNTIME_API it polls the Runtime API, and
 * sleeps "ms" milliseconds if the payload names them; with PORT or LISTEN (a Unix socket) it serves HTTP;
 * with none of them it prints a line and ends, for peers that only start it. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];

static int fail(const char *what) {
  perror(what);
  return 1;
}

/* Reads one message of HTTP: its head, and as much body as Content-Length says. 0 at the end. */
static size_t receive(int fd, char **body) {
  size_t have = 0, want = 0;
  *body = NULL;
  for (;;) {
    ssize_t got = read(fd, buffer + have, sizeof buffer - 1 - have);
    if (got <= 0) return 0;
    have += (size_t)got;
    buffer[have] = 0;
    if (!*body) {
      char *end = strstr(buffer, "\r\n\r\n");
      if (!end) continue;
      *body = end + 4;
      char *length = strcasestr(buffer, "\r\ncontent-length:");
      want = (size_t)(*body - buffer) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
    if (have >= want) return have;
  }
}

static int send_all(int fd, const char *text, size_t length) {
  while (length > 0) {
    ssize_t sent = write(fd, text, length);
    if (sent <= 0) return -1;
    text += sent;
    length -= (size_t)sent;
  }
  return 0;
}

static void sleep_as_asked(const char *payload) {
  const char *found = strstr(payload, "\"ms\":");
  double ms = found ? strtod(found + 5, NULL) : 0;
  if (ms <= 0) return;
  struct timespec left = {.tv_sec = (time_t)(ms / 1000)};
  left.tv_nsec = (long)((ms - (double)left.tv_sec * 1000) * 1e6);
  while (nanosleep(&left, &left) != 0) {
  }
}

static int poll_runtime_api(const char *api) {
  char host[64], request[512], id[64], *body;
  snprintf(host, sizeof host, "%s", api);
  char *colon = strchr(host, ':');
  struct sockaddr_in at = {.sin_family = AF_INET};
  at.sin_port = htons((unsigned short)(colon ? atoi(colon + 1) : 80));
  if (colon) *colon = 0;
  inet_pton(AF_INET, host, &at.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) return fail("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* short sleeps shall be exact */
  for (;;) {
    int length = snprintf(request, sizeof request,
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", api);
    if (send_all(fd, request, (size_t)length) < 0 || !receive(fd, &body)) return fail("next");
    char *found = strcasestr(buffer, "lambda-runtime-aws-request-id:");
    if (!found || sscanf(found + 30, " %63[^\r]", id) != 1) return fail("request id");
    sleep_as_asked(body);
    length = snprintf(request, sizeof request,
        "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: %s\r\n"
        "Content-Length: 4\r\n\r\n\"ok\"", id, api);
    if (send_all(fd, request, (size_t)length) < 0 || !receive(fd, &body)) return fail("response");
  }
}

static int serve(int listener) {
  static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
  int on = 1;
  if (listen(listener, 128) < 0) return fail("listen");
  signal(SIGCHLD, SIG_IGN); /* ended children need no reaping */
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    if (fork() == 0) {
      char *body;
      prctl(PR_SET_PDEATHSIG, (unsigned long)SIGTERM, 0, 0, 0);
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      while (receive(fd, &body) && send_all(fd, answer, sizeof answer - 1) == 0) {
      }
      _exit(0);
    }
    close(fd);
  }
}

static int serve_port(int port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) return fail("bind");
  return serve(listener);
}

static int serve_path(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) return fail("bind");
  return serve(listener);
}

int main(void) {
  const char *api = getenv("AWS_LAMBDA_RUNTIME_API"), *port = getenv("PORT"), *path = getenv("LISTEN");
  if (api) return poll_runtime_api(api);
  if (path) return serve_path(path);
  if (port) return serve_port(atoi(port));
  puts("ok");
  return 0;
}
