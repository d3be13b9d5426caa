/* Group 5: socket families, and the ways around a filter on system calls. */
#define _GNU_SOURCE
#include "attack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void family(int number, int kind, int protocol, const char *name) {
  int fd = socket(number, kind, protocol);
  tried(name, fd);
  if (fd >= 0) close(fd);
}

static void packet(int argc, char **argv) {
  (void)argc, (void)argv;
  family(AF_PACKET, SOCK_RAW, htons(3), "PACKET raw");
  family(AF_PACKET, SOCK_DGRAM, htons(3), "PACKET datagram");
}

static void raw(int argc, char **argv) {
  (void)argc, (void)argv;
  family(AF_INET, SOCK_RAW, IPPROTO_ICMP, "INET raw ICMP");
  family(AF_INET, SOCK_RAW, IPPROTO_RAW, "INET raw");
  family(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, "INET6 raw");
}

static void families(int argc, char **argv) {
  (void)argc, (void)argv;
  family(AF_ALG, SOCK_SEQPACKET, 0, "ALG");
  family(AF_VSOCK, SOCK_STREAM, 0, "VSOCK");
  family(AF_XDP, SOCK_RAW, 0, "XDP");
  family(AF_RXRPC, SOCK_DGRAM, PF_INET, "RXRPC");
  family(AF_KEY, SOCK_RAW, 2, "KEY");
  family(AF_CAN, SOCK_RAW, 1, "CAN");
  family(AF_TIPC, SOCK_RDM, 0, "TIPC");
  family(AF_BLUETOOTH, SOCK_RAW, 1, "BLUETOOTH");
  family(AF_NFC, SOCK_SEQPACKET, 1, "NFC");
  family(AF_KCM, SOCK_DGRAM, 0, "KCM");
  family(AF_RDS, SOCK_SEQPACKET, 0, "RDS");
  family(AF_SMC, SOCK_STREAM, 0, "SMC");
  family(AF_LLC, SOCK_STREAM, 0, "LLC");
  family(AF_PPPOX, SOCK_STREAM, 0, "PPPOX");
  family(AF_QIPCRTR, SOCK_DGRAM, 0, "QIPCRTR");
  family(45, SOCK_DGRAM, 0, "MCTP");
}

static void netlinks(int argc, char **argv) {
  (void)argc, (void)argv;
  char name[32];
  for (int protocol = 1; protocol <= 22; protocol++) {
    snprintf(name, sizeof name, "NETLINK %d", protocol);
    family(AF_NETLINK, SOCK_RAW, protocol, name);
  }
}

/* A new link by route netlink, which programs may open to read. */
static void new_link(int argc, char **argv) {
  (void)argc, (void)argv;
  struct { struct nlmsghdr head; struct ifinfomsg info; char space[64]; } ask = {0};
  struct { struct nlmsghdr head; struct nlmsgerr error; char space[512]; } got = {0};
  struct sockaddr_nl to = {.nl_family = AF_NETLINK};
  int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  ask.head.nlmsg_len = NLMSG_LENGTH(sizeof ask.info);
  ask.head.nlmsg_type = RTM_NEWLINK;
  ask.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  ask.info.ifi_index = (int)if_nametoindex("lo");
  ask.info.ifi_change = IFF_UP;
  if (fd < 0 || sendto(fd, &ask, ask.head.nlmsg_len, 0, (void *)&to, sizeof to) < 0 ||
      recv(fd, &got, sizeof got, 0) < 0) {
    tried("taking lo down", -1);
    return;
  }
  errno = -got.error.error;
  tried("taking lo down", got.error.error ? -1 : 0);
}

#if defined __x86_64__
static long old_call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  if (result < 0 && result > -4096) {
    errno = (int)-result;
    return -1;
  }
  return result;
}

static void int80(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("socket ALG", old_call(359, AF_ALG, SOCK_SEQPACKET, 0));
  tried("socket VSOCK", old_call(359, AF_VSOCK, SOCK_STREAM, 0));
  tried("unshare NEWUSER", old_call(310, CLONE_NEWUSER, 0, 0));
}

static void x32(int argc, char **argv) {
  (void)argc, (void)argv;
  tried("getpid", syscall(0x40000000 | SYS_getpid));
  tried("socket ALG", syscall(0x40000000 | SYS_socket, AF_ALG, SOCK_SEQPACKET, 0));
  tried("unshare NEWUSER", syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER));
}
#endif

static void ulp(int argc, char **argv) {
  (void)argc, (void)argv;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (void *)&at, size) < 0 || listen(listener, 1) < 0 ||
      getsockname(listener, (void *)&at, &size) < 0 || connect(fd, (void *)&at, size) < 0) {
    tried("a pair to try it on", -1);
    return;
  }
  static const char *const names[] = {"tls", "espintcp", "smc", "mptcp"};
  for (size_t i = 0; i < 4; i++)
    tried(names[i], setsockopt(fd, IPPROTO_TCP, TCP_ULP, names[i], (socklen_t)strlen(names[i])));
}

const struct attack sockets[] = {
    {"packet-sockets", packet, 0},
    {"raw-sockets", raw, 0},
    {"socket-families", families, 0},
    {"netlink", netlinks, 0},
    {"netlink-route-change", new_link, 0},
#if defined __x86_64__
    {"int80", int80, 0},
    {"x32", x32, 0},
#endif
    {"tcp-ulp", ulp, 0},
    {0},
};
