/*
 * The files that a confined wssink may read: those that its options name, the
 * certificates that the system trusts, and what the C library reads to find the
 * address of a name. Nothing else, and it makes and writes none.
 *
 * Who is permitted a file is so by its name once, and from then on by the file
 * itself: one that took its place is another. Then the process has to begin
 * anew, with rights that it can no longer give itself.
 */
#ifndef WSSINK_PERMIT_H
#define WSSINK_PERMIT_H

#include "wssink/auth.h"
#include "wssink/conn.h"

#include <stdbool.h>
#include <stddef.h>

/* One path. */
struct permit_path {
	char *path; /* owned */
	bool is_watched;
};

struct permit {
	struct permit_path *paths; /* owned */
	size_t count;
	size_t room;
	bool has_local_proxy; /* one that is a socket of the Unix domain */
};

/* Finds the files that a wssink with these sources and options reads. All is
 * copied. */
void permit_init(struct permit *permit, const struct auth_sources *sources,
    const struct conn_options *options);

/* Frees its memory. */
void permit_fini(struct permit *permit);

/*
 * Confines the process to the files, and to connecting; where nsswitch.conf(5)
 * names more than files and the DNS, nscd(8) runs, or the proxy is one, to
 * sockets of the Unix domain as well. Loads before what could not be loaded any
 * more. Call it with one thread only, once libcurl is set up. Returns 0, or -1
 * as confine_enter does.
 */
int permit_enter(const struct permit *permit);

/*
 * Returns the path of a file that could be read but for the confinement, since
 * it was put there later, borrowed as long as the permit; NULL: none. A file
 * that is empty may be about to be written, and does not count.
 */
const char *permit_replaced(const struct permit *permit);

#endif
