/*
 * What the service manager is told of the run: the protocol of sd_notify(3),
 * which is datagrams of VARIABLE=value lines to the socket that NOTIFY_SOCKET
 * names. Where there is none, nothing is sent; a socket that is gone or stays
 * full is no error, as the pipelines do not depend on who watches them.
 */
#ifndef SUPERVISOR_NOTIFY_H
#define SUPERVISOR_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Longest message; what is longer is not sent. */
#define NOTIFY_BYTES 1024

struct notify {
	int fd; /* owned; -1: nobody wants to know */
	struct sockaddr_un address;
	socklen_t address_bytes;
};

/*
 * Reads NOTIFY_SOCKET, a path or, behind "@", an abstract name, and removes it
 * from the environment: what the stages would say there is not of the service.
 */
void notify_init(struct notify *notify);

/* Closes the socket. */
void notify_fini(struct notify *notify);

/* Says whether anybody wants to know. */
bool notify_is_wanted(const struct notify *notify);

/*
 * Sends lines such as "READY=1\nSTATUS=2 instances run", formatted as by
 * printf(3): READY=1 when all has started or a reload is over, STOPPING=1 when
 * it stops. Waits for room no longer than 0.1 s. Keeps errno.
 */
void notify_send(const struct notify *notify, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sends that a reload begins, with the time `now_ns` (CLOCK_MONOTONIC), by
 * which the manager tells it from an older one. READY=1 is to follow. */
void notify_reloading(const struct notify *notify, int64_t now_ns);

#endif
