#include "stage/options.h"

#include "stage/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum exitcode
options_answer(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
		return EXITCODE_AGAIN;
	return EXITCODE_DONE;
}

/* Says whether there is an option with this letter or code. */
static bool
is_option(int code, const struct option *longs)
{
	for (; longs->name != NULL; longs++)
		if (longs->val == code)
			return true;
	return false;
}

void
options_log_wrong(
    int found, char *const *argv, const struct option *longs, const char *help)
{
	const char *word = argv[optind - 1], *why = "unknown option";
	bool is_letter = optopt != 0;

	if (found == ':') {
		why = "its value is missing";
		is_letter = word[1] != '-';
	} else if (is_option(optopt, longs)) {
		why = "it takes no value";
		is_letter = false;
	}
	/* A letter may stand in a word with others, which is not passed yet. */
	if (is_letter)
		log_error("-%c: %s; see %s", optopt, why, help);
	else
		log_error("%.*s: %s; see %s", (int)strcspn(word, "="), word,
		    why, help);
}

void
options_log_value(const char *option, const char *value, const char *wanted)
{
	char text[256];

	log_error("option %s: \"%s\" is not %s", option,
	    log_escape(text, sizeof(text), value, strlen(value)), wanted);
}
