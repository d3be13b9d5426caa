/* As much HTTP and Runtime API as the attacks need. */
#define _GNU_SOURCE
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <fcntl.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

char call_id[64], api_host[64];
int api_port;
static char answer[65536];

int dial(const char *ip, int port) {
  struct sockaddr_storage at = {0};
  struct sockaddr_in *four = (struct sockaddr_in *)&at;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&at;
  socklen_t size = sizeof *four;
  if (strchr(ip, ':')) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
    inet_pton(AF_INET6, ip, &six->sin6_addr);
    size = sizeof *six;
  } else {
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, ip, &four->sin_addr);
  }
  int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0, on = 1;
  socklen_t length = sizeof error;
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&at, size) < 0) {
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (errno == EINPROGRESS) {
      error = ETIMEDOUT;
      if (poll(&ready, 1, 2000) > 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    } else {
      error = errno;
    }
  }
  if (error) {
    close(fd);
    errno = error;
    return -1;
  }
  fcntl(fd, F_SETFL, 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/* Reads one message; gives its status and leaves it in `answer`, its body at `*body`. */
static int receive(int fd, char **body) {
  size_t have = 0, want = 0;
  *body = NULL;
  while (!*body || have < want) {
    ssize_t got = read(fd, answer + have, sizeof answer - 1 - have);
    if (got <= 0) return -1;
    have += (size_t)got;
    answer[have] = 0;
    char *end = *body ? NULL : strstr(answer, "\r\n\r\n");
    if (end) {
      char *length = strcasestr(answer, "\r\ncontent-length:");
      *body = end + 4;
      want = (size_t)(*body - answer) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
  }
  return atoi(answer + 9);
}

int request(const char *host, int port, const char *text, size_t length, char *body, size_t room) {
  char *found;
  int fd = dial(host, port), status;
  if (fd < 0) return -1;
  while (length > 0) {
    ssize_t sent = write(fd, text, length);
    if (sent <= 0) break;
    text += sent;
    length -= (size_t)sent;
  }
  status = receive(fd, &found);
  if (status > 0 && body) snprintf(body, room, "%s", found);
  close(fd);
  return status;
}

int respond(const char *json) {
  char text[12288];
  int length = snprintf(text, sizeof text,
      "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: api\r\nConnection: close\r\n"
      "Content-Length: %zu\r\n\r\n%s", call_id, strlen(json), json);
  return request(api_host, api_port, text, (size_t)length, NULL, 0);
}

/* The event is a JSON text without escapes. */
static void unquote(char *event) {
  size_t length = strlen(event);
  if (length >= 2 && event[0] == '"') {
    memmove(event, event + 1, length - 2);
    event[length - 2] = 0;
  }
}

int poll_runtime_api(const char *api, int once) {
  static const char next[] =
      "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";
  char event[4096], out[8192];
  snprintf(api_host, sizeof api_host, "%s", api);
  char *colon = strchr(api_host, ':');
  api_port = colon ? atoi(colon + 1) : 80;
  if (colon) *colon = 0;
  do {
    if (request(api_host, api_port, next, sizeof next - 1, event, sizeof event) != 200) return 1;
    char *found = strcasestr(answer, "lambda-runtime-aws-request-id:");
    if (!found || sscanf(found + 30, " %63[^\r]", call_id) != 1) return 1;
    unquote(event);
    /* Pid 1 inherits what the attacks leave. */
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    run_attack(event, out, sizeof out);
    /* Empty when the attack itself has answered. */
    if (call_id[0]) respond(out);
  } while (!once);
  return 0;
}
