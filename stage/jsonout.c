#include "stage/jsonout.h"

#include "stage/json.h"
#include "stage/log.h"

#include <string.h>

#define PRINTABLE_BYTES 4096

void
jsonout_text(cJSON *object, const char *name, const char *text)
{
	char printable[PRINTABLE_BYTES];

	if (text == NULL) {
		(void)cJSON_AddNullToObject(object, name);
		return;
	}
	if (!json_is_utf8(text, strlen(text)))
		text = log_printable(
		    printable, sizeof(printable), text, strlen(text));
	(void)cJSON_AddStringToObject(object, name, text);
}
