package webhooks

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/jobs"
)

// What the body of a webhook is; an endpoint chooses.
const (
	formatStandard   = "standard"
	formatBinary     = "cloudevents-binary"
	formatStructured = "cloudevents-structured"
)

// write gives the body that an endpoint wants of a job, and its headers.
//
// The payload of an event's job is a body that its rule has made. It is the whole of a
// standard webhook, and the data of a CloudEvent.
func write(job jobs.Job, format string, header http.Header) ([]byte, error) {
	e, at, err := eventOf(job)
	if err != nil {
		return nil, err
	}
	switch format {
	case formatBinary:
		return e.WriteBinary(header), nil
	case formatStructured:
		header.Set("Content-Type", cloudevents.MediaStructured+"; charset=utf-8")
		return e.Structured(), nil
	default:
		header.Set("Content-Type", "application/json")
		if job.Event != nil && job.Payload != nil {
			return job.Payload, nil
		}
		return standard(e, at)
	}
}

// eventOf gives what a job tells its receiver. The id of a CloudEvent is the sender's
// own, as that names it together with the source wherever it goes; an event that came
// without one, or without a source, gets ours.
func eventOf(job jobs.Job) (cloudevents.Event, time.Time, error) {
	e, at := cloudevents.Event{ID: job.ID.String()}, job.CreatedAt
	if from := job.Event; from != nil {
		at = from.Time
		e = cloudevents.Event{
			ID: cmp.Or(from.SenderID, from.ID.String()), Source: from.Source, Type: from.Type, Subject: from.Subject, Data: from.Data, Attributes: from.CloudEvent,
		}
		switch {
		case job.Payload != nil:
			e.Data, e.Opaque, e.ContentType, e.DataSchema = job.Payload, false, "", ""
		case e.Opaque:
			e.Data = from.Opaque
		}
	} else {
		var p payload
		if err := json.Unmarshal(job.Payload, &p); err != nil {
			return e, at, fmt.Errorf("read the payload: %w", err)
		}
		e.Type, e.Data = p.Type, p.Data
	}
	e.Source = cmp.Or(e.Source, "urn:signalstack:"+job.Tenant)
	e.Time = at.UTC().Format(time.RFC3339Nano)
	return e, at, nil
}

// standard writes the envelope around the data's own bytes, or around a text or
// base64 where they are not JSON.
func standard(e cloudevents.Event, at time.Time) ([]byte, error) {
	data, name := e.View(e.Data), "data"
	switch {
	case len(e.Data) == 0:
		data = []byte("null")
	case data == nil:
		data, name = []byte(`"`+base64.StdEncoding.EncodeToString(e.Data)+`"`), "data_base64"
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteString(`{"type":`)
	if err := enc.Encode(e.Type); err != nil {
		return nil, fmt.Errorf("write the type: %w", err)
	}
	b.Truncate(b.Len() - 1) // the line feed of Encode
	b.WriteString(`,"timestamp":"` + at.UTC().Format(time.RFC3339Nano) + `","` + name + `":`)
	b.Write(data)
	b.WriteByte('}')
	return b.Bytes(), nil
}
