/* Group 8: what one instance leaves, and what another one finds. */
#define _GNU_SOURCE
#include "attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <unistd.h>

extern char **environ;
enum { KEY = 0x0a77ac4 };

/* What is used again for sandboxes after each other: by the range of user ids one tells the slot. */
static void slot(void) {
  char line[128] = "", to[64];
  int from = -1;
  FILE *map = fopen("/proc/self/uid_map", "re");
  if (map && fgets(line, sizeof line, map)) sscanf(line, "%*d %d", &from);
  if (map) fclose(map);
  noted("users %d", from);
  static const char *const kinds[] = {"net", "ipc"};
  for (int i = 0; i < 2; i++) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
    ssize_t length = readlink(path, to, sizeof to - 1);
    if (length > 0) noted("%.*s", (int)length, to);
  }
}

static int put(const char *path, const char *text) {
  int fd = open(path, O_CREAT | O_RDWR, 0666);
  if (fd >= 0) write(fd, text, strlen(text));
  return fd;
}

/* SECRET: left in every place that there is. */
static void plant(int argc, char **argv) {
  const char *secret = argument(argc, argv, 1);
  struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0attack-plant"};
  struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(7777)};
  int id = shmget(KEY, 4096, IPC_CREAT | 0666), abstract = socket(AF_UNIX, SOCK_STREAM, 0),
      listener = socket(AF_INET, SOCK_STREAM, 0);
  put("/tmp/planted", secret);
  put("/dev/shm/planted", secret);
  mkdir("/tmp/.hidden", 0777);
  put("/tmp/.hidden/planted", secret);
  int unseen = memfd_create("planted", 0), deleted = put("/tmp/deleted", secret);
  write(unseen, secret, strlen(secret));
  unlink("/tmp/deleted");
  void *memory = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
  if (memory != (void *)-1) strcpy(memory, secret);
  semget(KEY, 1, IPC_CREAT | 0666);
  struct { long kind; char text[64]; } message = {.kind = 1};
  snprintf(message.text, sizeof message.text, "%s", secret);
  msgsnd(msgget(KEY, IPC_CREAT | 0666), &message, sizeof message.text, IPC_NOWAIT);
  mq_send(mq_open("/planted", O_CREAT | O_RDWR, 0666, NULL), secret, strlen(secret), 0);
  bind(abstract, (void *)&at, offsetof(struct sockaddr_un, sun_path) + 13);
  listen(abstract, 1);
  bind(listener, (void *)&tcp, sizeof tcp);
  listen(listener, 1);
  /* Pages that are given back to the kernel with the secret in them. */
  for (int i = 0; i < 16; i++) {
    char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t offset = 0; page != MAP_FAILED && offset < 1 << 20; offset += 64) strcpy(page + offset, secret);
  }
  if (fork() == 0) {
    setsid();
    close(0), close(1), close(2);
    /* The result's pipe must close, the listeners must not. */
    for (int fd = 3; fd < 64; fd++)
      if (fd != abstract && fd != listener && fd != unseen && fd != deleted) close(fd);
    pause();
    _exit(0);
  }
  slot();
  told("plant", "planted");
}

static int entries(const char *path) {
  DIR *folder = opendir(path);
  int count = 0;
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      noted("%s/%s", path, entry->d_name);
      count++;
    }
  if (folder) closedir(folder);
  return count;
}

static int lines(const char *path) {
  char line[512];
  int count = -1;
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) count++;
  if (file) fclose(file);
  return count;
}

/* Whether a line of the file has the text. */
static int holds(const char *path, const char *text) {
  char line[512];
  int found = 0;
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) found |= strstr(line, text) != NULL;
  if (file) fclose(file);
  return found;
}

/* SECRET, backwards: looked for everywhere; besides, nothing may be there that an instance can leave. */
static void find(int argc, char **argv) {
  const char *turned = argument(argc, argv, 1);
  slot();
  struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0attack-plant"};
  int found = entries("/tmp") + entries("/dev/shm");
  told("files", found ? "found" : "none");
  found = (shmget(KEY, 0, 0) >= 0) + (semget(KEY, 0, 0) >= 0) + (msgget(KEY, 0) >= 0) +
          (mq_open("/planted", O_RDWR) != (mqd_t)-1);
  for (int i = 1; i < 4; i++) {
    static const char *const tables[] = {"", "/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"};
    found += lines(tables[i]) > 0;
  }
  told("IPC", found ? "found" : "none");
  found = connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, offsetof(struct sockaddr_un, sun_path) + 13) == 0;
  int fd = dial("127.0.0.1", 7777);
  if (fd >= 0) close(fd);
  told("sockets", found || fd >= 0 ? "found" : "none");
  found = 0;
  for (int i = 0; i < 32; i++) {
    char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t offset = 0; page != MAP_FAILED && offset < 1 << 20; offset += 4096) found += page[offset] != 0;
    if (page != MAP_FAILED) munmap(page, 1 << 20);
  }
  told("memory", found ? "found" : "none");
  found = 0;
  for (char **variable = environ; *variable; variable++) found += strstr(*variable, "PLANTED=") == *variable;
  told("environment", found ? "found" : "none");
  found = 0;
  for (int pid = 2; pid < 4096; pid++)
    found += kill(pid, 0) == 0 && !descends_from(pid);
  told("processes", found ? "found" : "none");
  /* The platform's own name server, 127.0.0.53:53, is there for whoever may connect out. */
  found = lines("/proc/net/udp") > holds("/proc/net/udp", "3500007F:0035");
  told("datagram sockets", found ? "found" : "none");
  search(turned);
}

/* Whether pid 1 is still the launcher's program that waits: it keeps the socket by which it was told. */
static int waits(void) {
  char to[64];
  ssize_t length = readlink("/proc/1/exe", to, sizeof to - 1);
  to[length > 0 ? length : 0] = 0;
  return strncmp(to, "/memfd:rouse-park", 17) == 0;
}

/* Descriptors of the first process: `/dev/null`, its output's two pipes, and the one by which this attack answers,
 * if it is its child. Whatever else is open, or cannot be seen, is told. */
static void descriptors_left(int argc, char **argv) {
  (void)argc, (void)argv;
  char path[300], to[256];
  struct stat answers = {0}, what;
  int others = 0, unseen = 0, standard = 0;
  DIR *folder = opendir("/proc/1/fd");
  if (!folder) return tried("/proc/1/fd", -1);
  fstat(result_fd, &answers);
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (entry->d_name[0] == '.') continue;
    int fd = atoi(entry->d_name);
    snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
    ssize_t length = readlink(path, to, sizeof to - 1);
    to[length > 0 ? length : 0] = 0;
    noted("%d %s", fd, to);
    if (length < 0 || stat(path, &what) < 0) unseen++;
    else if (fd == 0 && strcmp(to, "/dev/null") == 0) standard++;
    else if ((fd == 1 || fd == 2) && strncmp(to, "pipe:", 5) == 0) standard++;
    else if (S_ISFIFO(what.st_mode) && what.st_dev == answers.st_dev && what.st_ino == answers.st_ino) noted("ours");
    else if (fd == 3 && strncmp(to, "socket:", 7) == 0 && waits()) noted("the launcher's");
    else others++;
  }
  closedir(folder);
  if (unseen) told("some of them", "unseen");
  told("descriptors", others || standard != 3 ? "others" : "standard only");
}

const struct attack leftovers[] = {
    {"plant", plant, 0},
    {"find", find, 0},
    {"descriptors", descriptors_left, 0},
    {0},
};
