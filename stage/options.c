#include "stage/options.h"

#include <stdio.h>

enum exitcode
options_answer(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
		return EXITCODE_AGAIN;
	return EXITCODE_DONE;
}
