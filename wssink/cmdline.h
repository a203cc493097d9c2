/*
 * The command line of wssink: options that are checked, and the memory behind
 * what they point to. What is wrong with them is logged. What in them is secret
 * is written over, so that ps(1) does not show it for longer than it takes.
 */
#ifndef WSSINK_CMDLINE_H
#define WSSINK_CMDLINE_H

#include "stage/control.h"
#include "stage/log.h"
#include "wssink/auth.h"
#include "wssink/wssink.h"

#include <stdbool.h>
#include <stddef.h>

/* What is borrowed in it is of argv. */
struct cmdline {
	/* For the caller. */
	struct wssink_options options;
	struct auth_sources sources;
	enum log_level level;
	bool sandbox;
	const char *answer; /* to --help or --version, a constant */

	/* For the functions below only. */
	struct auth auth;
	char *headers[AUTH_HEADERS]; /* owned */
	size_t header_count;
	char *users[AUTH_FILES]; /* owned; NULL: not given as text */
	char *protocols;	 /* owned; NULL: none */
	char *proxy;		 /* owned; NULL: none */
	char *url;		 /* owned; NULL: none */
	bool hides_path;	 /* a variable stands in its path */
};

/* What is to be done. */
enum cmdline_outcome {
	CMDLINE_RUN,   /* what `options` say */
	CMDLINE_TOLD,  /* print `answer`, no more */
	CMDLINE_WRONG, /* end for good; logged */
	CMDLINE_LATER, /* a file cannot be used that may be right the next time:
			* end, to be started again; logged */
};

/* Makes the defaults. `control` is borrowed as long as the options are used. */
void cmdline_init(struct cmdline *cmdline, struct control *control);

/*
 * Takes the command line, and reads the files that it names. `argv` is borrowed
 * as long as the options are used; `cmdline` stays where it is.
 */
enum cmdline_outcome cmdline_parse(
    struct cmdline *cmdline, int argc, char **argv);

/* Frees the memory, after writing over what is secret. */
void cmdline_fini(struct cmdline *cmdline);

#endif
