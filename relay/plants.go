package relay

// planted names a bug that the simulation must find.
type planted uint8

const (
	plantNone        planted = iota
	plantLostDrop            // a drop is not counted
	plantSwappedKey          // a frame is delivered under another sender's key
	plantStaleHandle         // a handle's generation is not checked
	plantEarlyReuse          // a send buffer is reused before the loop gave it back
	plantDoubleSend          // the same frames are sent twice after a blocked send
)
