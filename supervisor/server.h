/*
 * The supervisor's socket: SOCKET in the state directory, where clients ask
 * what request.h has. It reads requests and carries answers; what they mean is
 * for the caller, who may answer at once or much later.
 *
 *	READING -> ASKED -> OWED -> ANSWERING -> free
 *
 * It never waits, holds at most SERVER_CLIENTS connections (more wait in the
 * kernel's queue), and wants no wakeup while there is no client. Only our own
 * user and root are listened to. A request that cannot be read is answered
 * here, with why.
 */
#ifndef SUPERVISOR_SERVER_H
#define SUPERVISOR_SERVER_H

#include "stage/buf.h"
#include "stage/loop.h"
#include "supervisor/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

/* Its name in the state directory. */
#define SERVER_SOCKET "SOCKET"

#define SERVER_CLIENTS 16

/* How long a client may take for its request, and how long it may take nothing
 * of its answer. There is no limit on how long we may take. */
#define SERVER_PATIENCE_NS (10 * LOOP_NS_PER_S)

enum server_life {
	SERVER_FREE,	  /* no client */
	SERVER_READING,	  /* its request has not come yet */
	SERVER_ASKED,	  /* its request is there for server_next */
	SERVER_OWED,	  /* the caller has it; no answer yet */
	SERVER_ANSWERING, /* the answer is on its way */
};

/* One connection. */
struct server_client {
	enum server_life life;
	int fd;		     /* -1: none */
	uint64_t id;	     /* never used again */
	int64_t deadline_ns; /* READING, ANSWERING; else LOOP_NEVER */
	size_t slot;	     /* this turn's in the loop, or 0 */
	enum request_verb verb;
	struct buf in;
	char *out; /* owned: the answer with its newline, or NULL */
	size_t out_bytes, sent_bytes;
};

struct server {
	int fd;		  /* it listens; -1: closed */
	int dir_fd;	  /* borrowed */
	int64_t pause_ns; /* nothing is accepted before; 0: no pause */
	uint64_t next_id;
	size_t slot;
	struct server_client clients[SERVER_CLIENTS];
};

/* What a client asks for. */
struct server_request {
	enum request_verb verb;
	uint64_t id; /* to be given to server_answer */
};

/*
 * Makes the address of the socket in the directory `dir_fd`, which stays open
 * while the address is used: no path is too long for it (proc(5)).
 */
void server_address(struct sockaddr_un *address, int dir_fd);

/*
 * Listens in the state directory `dir_fd`, whose lock we hold: a socket that is
 * there is one that a dead supervisor has left, and is replaced. `dir_fd` is
 * borrowed until server_close. The file has mode 0600 from its birth; the umask
 * is changed for that moment. Returns 0, or -1 with errno set and the server
 * closed: EADDRINUSE if something else has the name.
 */
int server_open(struct server *server, int dir_fd);

/* States what the server waits for. Nothing if it is closed. */
void server_watch(struct server *server, struct loop *loop);

/* Accepts, reads and writes what this turn of the loop has told of, and drops
 * the clients whose time is over. */
void server_turn(struct server *server, const struct loop *loop);

/* Takes a request that has not been taken yet. Returns whether there was one;
 * call it until there is none. Each is to be answered. */
bool server_next(struct server *server, struct server_request *request);

/*
 * Answers the request `id` with a line of JSON (without its newline, copied);
 * then the connection ends. A client that has left meanwhile is no error.
 */
void server_answer(struct server *server, uint64_t id, const char *json);

/* Says whether the client of the request `id` still waits for its answer: else
 * the request need not be kept. */
bool server_is_awaited(const struct server *server, uint64_t id);

/* Says whether an answer was given that its client has not taken whole. */
bool server_is_answering(const struct server *server);

/* Removes the socket's name: nobody comes any more but who is on the way. */
void server_hide(const struct server *server);

/* Says whether there is a client, or this turn of the loop has told of one. */
bool server_has_clients(const struct server *server, const struct loop *loop);

/* Drops all clients and removes the socket. A closed one may be closed again.
 */
void server_close(struct server *server);

#endif
