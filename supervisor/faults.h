/*
 * What is wrong with a configuration, each fault with its exact place. Faults
 * are gathered, not printed, so that one run tells all of them. Only the first
 * FAULTS_MAX are kept; the rest is counted.
 */
#ifndef SUPERVISOR_FAULTS_H
#define SUPERVISOR_FAULTS_H

#include <stddef.h>

#define FAULTS_MAX 20

/* Where something stands in a file. */
struct place {
	const char *file; /* borrowed, as long as the configuration lives */
	size_t line;	  /* from 1 */
	size_t column;	  /* from 1, in characters */
};

struct faults {
	char *text[FAULTS_MAX]; /* owned; "file:line:column: sentence" */
	size_t count;		/* texts in use */
	size_t more;		/* faults that found no room */
};

/* Makes an empty list. */
void faults_init(struct faults *faults);

/* Frees the texts; the list is empty again. */
void faults_fini(struct faults *faults);

/*
 * Adds one fault at `place`; the sentence is formatted as printf(3) and may
 * hold bytes from outside, which whoever prints it makes printable.
 */
void faults_add(struct faults *faults, const struct place *place,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
