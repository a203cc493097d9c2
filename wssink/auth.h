/*
 * What a request says of us: the headers that the user wants in it, and the
 * names and passwords for the server and for a proxy. Some of it stands in
 * files, which are read anew for each try to connect, since tokens expire and
 * are replaced. It knows headers, not where they go.
 */
#ifndef WSSINK_AUTH_H
#define WSSINK_AUTH_H

#include <stddef.h>

/* Headers at most. */
#define AUTH_HEADERS ((size_t)64)
/* Longest text that says what is wrong, NUL included. */
#define AUTH_WHY_BYTES 512

/* The files among the sources, and what is in each. */
enum auth_file {
	AUTH_HEADER_FILE, /* headers, one a line */
	AUTH_BASIC_FILE,  /* "user:password" in the first line */
	AUTH_BEARER_FILE, /* a token in the first line */
	AUTH_PROXY_FILE,  /* as the second, for the proxy */
	AUTH_FILES,
};

/* Where it comes from. All is borrowed; NULL: nothing. */
struct auth_sources {
	const char *const *headers;    /* "Name: value" */
	size_t header_count;	       /* 0..AUTH_HEADERS */
	const char *user;	       /* of the URL */
	const char *password;	       /* NULL together with user */
	const char *files[AUTH_FILES]; /* paths */
	/* What could stand in a file, given as text; not headers. */
	const char *texts[AUTH_FILES];
};

/* What it is now. All but the sources is owned. */
struct auth {
	const struct auth_sources *sources; /* borrowed */
	char *texts[AUTH_FILES];	    /* as last read; NULL: not yet */
	char *headers[AUTH_HEADERS];
	size_t header_count;
	char *proxy_user; /* NULL: none given */
	char *proxy_password;
};

/* Makes an empty one; the sources are borrowed as long as it lives. */
void auth_init(struct auth *auth, const struct auth_sources *sources);

/* Frees the strings, after writing over them. */
void auth_fini(struct auth *auth);

/*
 * Reads the files and takes all together in place of what was there. A pipe or
 * a terminal can be read only once: the first time. Returns 0, or -1 with `why`
 * telling which source is at fault and why, without its secrets; then *auth is
 * as it was. At fault are a file that cannot be read, is longer than 64 KiB or
 * has a NUL in it, what header_fault refuses, a file that is empty and was not,
 * a first line that is not as it should be, more than one way in which the
 * server or the proxy is told a user, more than AUTH_HEADERS headers.
 */
int auth_read(struct auth *auth, char why[AUTH_WHY_BYTES]);

#endif
