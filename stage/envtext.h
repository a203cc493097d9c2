/*
 * Text in which ${env:NAME} stands for a variable of the environment: how a
 * secret gets into an option without standing on the command line.
 */
#ifndef STAGE_ENVTEXT_H
#define STAGE_ENVTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The longest name of a variable. */
#define ENVTEXT_NAME_BYTES 128
/* Longest text that says what is wrong, NUL included. */
#define ENVTEXT_WHY_BYTES 256

/* How a value is written into the text. */
enum envtext_form {
	ENVTEXT_PLAIN,
	ENVTEXT_URL, /* percent-encoded, but for RFC 3986's unreserved bytes */
};

/*
 * Looks for a "${" that does not begin ${env:NAME}, where NAME has letters,
 * digits and "_". Returns where it is, with *bytes the length up to its "}" or
 * the end, or NULL if there is none.
 */
const char *envtext_fault(const char *text, size_t *bytes);

/* Says whether there is a ${env:NAME} in a text that has no fault. */
bool envtext_is_used(const char *text);

/*
 * Returns the text with the values of the variables in it; the caller frees
 * it. Or NULL with `why`, which names what is unknown or the variable that is
 * not set, and repeats nothing else of the text.
 */
char *envtext_expand(
    const char *text, enum envtext_form form, char why[ENVTEXT_WHY_BYTES]);

#endif
