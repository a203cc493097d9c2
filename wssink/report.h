/*
 * The report: how a sink stands, as it tells its supervisor (stage/ctlmsg.h).
 *
 *   connection     "open", "connecting", "waiting" for its next try, "closing"
 *   connection_ms  for how long it is so
 *   url            of the server: scheme, host, port and path
 *   why            the last connection, or try, came to its end; none has: left
 *                  out
 *   confirmed      events that the server has confirmed
 *   rejected       events that were refused
 *   unconfirmed    events that were taken, and have not ended
 *   connects       connections that were open
 *   rate           events confirmed a second; see stage/meter.h
 */
#ifndef WSSINK_REPORT_H
#define WSSINK_REPORT_H

#include "wssink/delivery.h"

#include <cjson/cJSON.h>

#include <stdint.h>

/* Returns the report, which the caller deletes. `rejected` is that number. */
cJSON *report_new(struct delivery *delivery, uint64_t rejected);

#endif
