/* A raw log: appends records to one file with write and fdatasync, one of each for all that wait at a time.
 *
 *   log FILE WRITERS SECONDS BYTES   so many threads append records; prints the records a second
 *   log FILE port PORT               the same over HTTP: the body of each POST is a record, answered with
 *                                    202 once it is on disk
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int file;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void commit(const char *data, size_t length) {
    while (length > 0) {
        ssize_t written = write(file, data, length);
        if (written < 0) fail("write");
        data += written;
        length -= (size_t)written;
    }
    if (fdatasync(file) != 0) fail("fdatasync");
}

/* Writers in this process. Whoever comes first writes for all that came meanwhile. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static char *gathered, *written_now;
static size_t gathered_length, capacity, record_bytes;
static unsigned long generation, durable;
static int writing;
static volatile int ended;

static void append(const char *record) {
    pthread_mutex_lock(&lock);
    memcpy(gathered + gathered_length, record, record_bytes);
    gathered_length += record_bytes;
    unsigned long mine = generation;
    while (durable <= mine) {
        if (writing) {
            pthread_cond_wait(&done, &lock);
            continue;
        }
        writing = 1;
        char *data = gathered;
        size_t length = gathered_length;
        gathered = written_now;
        written_now = data;
        gathered_length = 0;
        unsigned long now = generation++;
        pthread_mutex_unlock(&lock);
        commit(data, length);
        pthread_mutex_lock(&lock);
        durable = now + 1;
        writing = 0;
        pthread_cond_broadcast(&done);
    }
    pthread_mutex_unlock(&lock);
}

static void *writer(void *counted) {
    char *record = malloc(record_bytes);
    if (record == NULL) fail("malloc");
    memset(record, 'x', record_bytes);
    unsigned long count = 0;
    while (!ended) {
        append(record);
        count++;
    }
    free(record);
    *(unsigned long *)counted = count;
    return NULL;
}

static void in_process(int writers, int seconds) {
    capacity = (size_t)writers * record_bytes;
    gathered = malloc(capacity);
    written_now = malloc(capacity);
    pthread_t *threads = calloc((size_t)writers, sizeof *threads);
    unsigned long *counts = calloc((size_t)writers, sizeof *counts), total = 0;
    if (!gathered || !written_now || !threads || !counts) fail("malloc");
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int n = 0; n < writers; n++)
        if (pthread_create(&threads[n], &small, writer, &counts[n]) != 0) fail("pthread_create");
    sleep((unsigned)seconds);
    ended = 1;
    for (int n = 0; n < writers; n++) pthread_join(threads[n], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    for (int n = 0; n < writers; n++) total += counts[n];
    double took = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%.1f\n", (double)total / took);
}

/* Over HTTP: one thread takes what all connections have sent, commits it once, and answers. */

enum { CONNECTIONS = 2048, REQUEST = 16384, ROUND = 512 };

struct connection {
    size_t length;
    char data[REQUEST];
};

static struct connection *connections[CONNECTIONS];
static const char answer[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";

/* The length of the first whole request, and where its body begins; 0 if it is not whole. */
static size_t whole(struct connection *one, size_t *body) {
    one->data[one->length] = 0;
    char *end = strstr(one->data, "\r\n\r\n");
    if (end == NULL) return 0;
    char *length = strcasestr(one->data, "content-length:");
    size_t bytes = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    *body = (size_t)(end - one->data) + 4;
    return one->length >= *body + bytes ? *body + bytes : 0;
}

static void gone(int poll, int fd) {
    epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL);
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void over_http(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, 1024) != 0) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[ROUND];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    char *batch = malloc((size_t)ROUND * REQUEST);
    if (batch == NULL) fail("malloc");
    for (;;) {
        int waiting[ROUND], answers = 0;
        size_t length = 0;
        int count = epoll_wait(poll, ready, ROUND, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int n = 0; n < count; n++) {
            int fd = ready[n].data.fd;
            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd < 0 || fd >= CONNECTIONS) fail("accept");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[fd] = calloc(1, sizeof *connections[fd]);
                if (connections[fd] == NULL) fail("calloc");
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            struct connection *from = connections[fd];
            ssize_t got = read(fd, from->data + from->length, REQUEST - 1 - from->length);
            if (got <= 0) {
                gone(poll, fd);
                continue;
            }
            from->length += (size_t)got;
            size_t body, request = whole(from, &body);
            if (request == 0) continue;
            memcpy(batch + length, from->data + body, request - body);
            length += request - body;
            memmove(from->data, from->data + request, from->length - request);
            from->length -= request;
            waiting[answers++] = fd;
        }
        if (answers == 0) continue;
        commit(batch, length);
        for (int n = 0; n < answers; n++)
            if (write(waiting[n], answer, sizeof answer - 1) < 0) gone(poll, waiting[n]);
    }
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: log FILE WRITERS SECONDS BYTES | log FILE port PORT\n");
        return 2;
    }
    file = open(words[1], O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) fail(words[1]);
    if (strcmp(words[2], "port") == 0) {
        over_http(atoi(words[3]));
        return 0;
    }
    record_bytes = count > 4 ? strtoul(words[4], NULL, 10) : 512;
    in_process(atoi(words[2]), atoi(words[3]));
    return 0;
}
