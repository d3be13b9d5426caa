/* Group 7: the Runtime API, and addresses that are not the instance's. */
#define _GNU_SOURCE
#include "attack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects and asks: a connection that is closed without a byte has reached nobody. */
static void reach(const char *ip, int port) {
  char name[80], got[64];
  snprintf(name, sizeof name, "%s port %d", ip, port);
  int fd = dial(ip, port);
  if (fd < 0) {
    tried(name, -1);
    return;
  }
  static const char ask[] = "GET /attack HTTP/1.0\r\nHost: attack\r\n\r\n";
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  if (write(fd, ask, sizeof ask - 1) < 0) {
    tried(name, -1); /* It was reset before that. */
  } else if (poll(&ready, 1, 3000) <= 0) {
    told(name, "silent");
  } else {
    ssize_t some = read(fd, got, sizeof got);
    if (some > 0) told(name, "answered");
    else if (some == 0) told(name, "closed");
    else tried(name, -1);
  }
  close(fd);
}

/* ADDRESS PORT, several times. */
static void addresses(int argc, char **argv) {
  for (int i = 1; i + 1 < argc; i += 2) reach(argv[i], atoi(argv[i + 1]));
}

static void metadata(int argc, char **argv) {
  (void)argc, (void)argv;
  reach("169.254.169.254", 80);
  reach("169.254.170.2", 80);
  reach("100.100.100.200", 80);
  reach("fd00:ec2::254", 80);
}

/* Other instances would be found here if they had addresses in sight. OWN ports are skipped. */
static void sweep(int argc, char **argv) {
  (void)argc, (void)argv;
  static const int ports[] = {9001, 8080, 4566, 61000};
  char ip[32];
  for (int last = 2; last < 60; last++)
    for (int i = 0; i < 4; i++) {
      snprintf(ip, sizeof ip, "127.0.0.%d", last);
      int fd = dial(ip, ports[i]);
      if (fd >= 0) {
        told(ip, "done");
        close(fd);
      } else {
        told("127.0.0.0/26", strerrorname_np(errno));
      }
    }
  reach("172.17.0.1", 80);
  reach("172.17.0.2", 80);
  reach("10.0.0.1", 9001);
}

static void datagrams(int argc, char **argv) {
  (void)argc, (void)argv;
  static const struct { const char *ip; int port; } to[] = {{"8.8.8.8", 53}, {"169.254.169.254", 123},
                                                             {"224.0.0.251", 5353}, {"255.255.255.255", 67}};
  for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to[i].port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    inet_pton(AF_INET, to[i].ip, &at.sin_addr);
    /* Where every address is delivered inside, sending succeeds: what counts is that nothing answers. */
    char answer;
    struct timeval patience = {.tv_usec = 100000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    long done = connect(fd, (void *)&at, sizeof at);
    if (done == 0) done = send(fd, "x", 1, 0);
    if (done == 1) done = recv(fd, &answer, 1, 0);
    tried(to[i].ip, done);
    close(fd);
  }
}

static void interfaces(int argc, char **argv) {
  (void)argc, (void)argv;
  struct ifaddrs *all = NULL;
  int others = 0;
  if (getifaddrs(&all) < 0) {
    tried("getifaddrs", -1);
    return;
  }
  for (struct ifaddrs *at = all; at; at = at->ifa_next) {
    if (strcmp(at->ifa_name, "lo") == 0) continue;
    noted("%s", at->ifa_name);
    others++;
  }
  told("links", others ? "others" : "loopback only");
}

static int post(const char *id, const char *kind, const char *body) {
  char text[2048];
  int length = snprintf(text, sizeof text,
      "POST /2018-06-01/runtime/invocation/%s/%s HTTP/1.1\r\nHost: api\r\nConnection: close\r\n"
      "Content-Length: %zu\r\n\r\n%s", id, kind, strlen(body), body);
  return request(api_host, api_port, text, (size_t)length, NULL, 0);
}

static void status_of(const char *what, int status) {
  char word[32];
  snprintf(word, sizeof word, "%d", status);
  told(what, status < 0 ? "closed" : word);
}

/* ID: of a call that another instance has under way. */
static void guessed(int argc, char **argv) {
  static const char stolen[] = "\"stolen\"";
  status_of("another instance's call", post(argument(argc, argv, 1), "response", stolen));
  status_of("its error", post(argument(argc, argv, 1), "error", stolen));
  status_of("a made-up id", post("00000000-0000-0000-0000-000000000000", "response", stolen));
  status_of("a path as id", post("../../../../../_rouse/v1/functions", "response", stolen));
  status_of("no id", post("", "response", stolen));
}

static int second;

static void twice(int argc, char **argv) {
  (void)argc, (void)argv;
  respond("{\"case\":\"double-response\",\"answer\":\"first\",\"detail\":\"\"}");
  second = respond("{\"case\":\"double-response\",\"answer\":\"second\",\"detail\":\"\"}");
  call_id[0] = 0;
}

static void twice_status(int argc, char **argv) {
  (void)argc, (void)argv;
  status_of("the second response", second);
}

static char before[64];

/* Answers this call, keeps its id, and answers the next call with the old id first. */
static void late(int argc, char **argv) {
  (void)argc, (void)argv;
  if (before[0]) {
    status_of("the former call's id", post(before, "response", "\"late\""));
    status_of("its error", post(before, "error", "\"late\""));
  } else {
    told("first", "kept");
  }
  snprintf(before, sizeof before, "%s", call_id);
}

/* Two messages in one: what follows the first must not be taken for another client's. */
static void smuggle(int argc, char **argv) {
  (void)argc, (void)argv;
  static const char text[] =
      "POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nHost: api\r\nContent-Length: 4\r\n"
      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n";
  status_of("length and chunks", request(api_host, api_port, text, sizeof text - 1, NULL, 0));
  static const char bad[] = "GET /2018-06-01/runtime/invocation/next HTTP/9.9\r\n\r\n";
  status_of("an unknown version", request(api_host, api_port, bad, sizeof bad - 1, NULL, 0));
}

/* The platform's own door without the owner's token. */
static void control(int argc, char **argv) {
  (void)argc, (void)argv;
  static const struct { const char *what, *text; } asks[] = {
      {"functions", "GET /_rouse/v1/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
      {"with a made-up token", "GET /_rouse/v1/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer x\r\n\r\n"},
      {"deployment", "POST /_rouse/v1/deployments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"},
      {"Lambda API", "GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
      {"a service's route", "GET /svc/any/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
      {"buckets", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}};
  for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
    status_of(asks[i].what, request("127.0.0.1", 4566, asks[i].text, strlen(asks[i].text), NULL, 0));
}

const struct attack network[] = {
    {"addresses", addresses, 0},
    {"metadata", metadata, 0},
    {"other-instances", sweep, 0},
    {"datagrams", datagrams, 0},
    {"interfaces", interfaces, 0},
    {"guessed-request-id", guessed, 0},
    {"double-response", twice, 1},
    {"double-response-status", twice_status, 1},
    {"late-response", late, 1},
    {"smuggled-request", smuggle, 0},
    {"control-api", control, 0},
    {0},
};
