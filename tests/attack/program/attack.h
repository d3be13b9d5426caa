/* What an attack tells. Each attack is a function that tries things and says of each what it got; all
 * answers of one attack, each once, make its answer: "EPERM", or "EPERM|ENOSYS". */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct attack {
  const char *name;
  void (*run)(int argc, char **argv);
  /* Runs in the main process instead of a child: what ends it ends the instance. */
  int in_main;
};

/* Tables of the groups, each ended by an entry without a name. */
extern const struct attack mounts[], kernel[], descriptors[], processes[], sockets[], calls[], floods[],
    network[], leftovers[];

/* What a system call gave: the name of errno if it is negative, else "done". */
void tried(const char *what, long result);
/* A word of our own, such as "empty". */
void told(const char *what, const char *word);
/* A line of detail that is no answer. */
void noted(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Sends what was told so far and ends this process. */
void conclude(void) __attribute__((noreturn));
/* Where an attack that runs in a child writes its answer. */
extern int result_fd;
/* The argument, or an end that says that it is missing. */
const char *argument(int argc, char **argv, int index);

/* One HTTP request to the instance's own Runtime API or to any address; gives the status, or -1. */
int request(const char *host, int port, const char *text, size_t length, char *body, size_t room);
/* Connects within two seconds; a descriptor or -1. */
int dial(const char *ip, int port);
/* Polls the Runtime API for ever and runs the attacks that the events name. */
int poll_runtime_api(const char *api, int once);
/* The id of the call under way, and its host and port. */
extern char call_id[64], api_host[64];
extern int api_port;
/* Posts this call's answer; gives the status. */
int respond(const char *json);

/* Whether this process is it, or comes from it. */
int descends_from(int ancestor);
/* Looks everywhere for a text, which is given backwards: says `secret` where it is, `none` elsewhere. */
void search(const char *turned);

/* Runs `name` and writes {"case":…,"answer":…,"detail":…} to `out`. */
void run_attack(char *command, char *out, size_t room);
