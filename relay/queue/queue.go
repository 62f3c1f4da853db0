package queue

import "derpd/relay/block"

// Kind is the class of a queued frame; each has a queue of its own, so that bulk cannot
// push disco out.
type Kind uint8

const (
	Data Kind = iota
	Disco
)

// Frame is one queued DERP frame with its header.
type Frame struct {
	Data  []byte
	Block *block.Block // holds Data; nil while Data lies in the loop's receive arena
	At    int64        // arrival, loop time in nanoseconds
	From  uint32       // its sender: a number that few share, for fairness
	Kind  Kind
}

// memory is what a queued frame occupies: an empty packet has a block as a disco frame has.
func (f *Frame) memory() int64 { return int64(cap(f.Block.Buf)) + frameMemory }

// Drops says what a call threw away.
type Drops struct {
	Frames [2]int // by kind, Data and Disco
	Bytes  [2]int
}

// Any reports whether something was dropped.
func (d *Drops) Any() bool { return d.Frames[0]|d.Frames[1] != 0 }

func (d *Drops) add(f *Frame) {
	d.Frames[f.Kind&1]++
	d.Bytes[f.Kind&1] += len(f.Data)
}

const chunkFrames = 15 // with its link and counters a chunk fills the 768-byte size class

type chunk struct {
	frames [chunkFrames]Frame
	next   *chunk
	first  uint8 // frames[first:end] are queued
	end    uint8
}

// Loop is what the queues of one loop share: blocks, spare chunks and lines, and the budget of
// bytes.
type Loop struct {
	Blocks block.Pool
	Budget int64 // bytes of memory that is held at most, in all queues of this loop; 0 is no bound
	held   int64 // bytes of memory held now
	spare  *chunk
	spares int
	idle   *lines
}

// Held returns the bytes of memory that the queues of this loop hold, and what is charged.
func (l *Loop) Held() int64 { return l.held }

// Charge counts memory that has left a queue for a receiver which does not take it, and, with a
// negative number of bytes, that it has: a budget that thousands can evade by not reading is none.
func (l *Loop) Charge(bytes int) { l.held += int64(bytes) }

func (l *Loop) chunk() *chunk {
	c := l.spare
	if c == nil {
		return new(chunk)
	}
	l.spare = c.next
	l.spares--
	c.next = nil
	return c
}

// share scales a queue's bound down while the loop's budget runs out.
func (l *Loop) share(limit int) int {
	if l.Budget == 0 || l.held <= l.Budget/2 {
		return limit
	}
	left := max(0, l.Budget-l.held)
	return max(min(limit, shareMin), int(int64(limit)*left/(l.Budget/2)))
}

// fifo is the queue of one class.
type fifo struct {
	head, tail *chunk
	count      int // frames
	bytes      int
	borrowed   int    // the last frames, from the first whose bytes still lie in the arena
	popped     uint64 // frames that have left, sent or dropped
}

// Queue is stage two, a pointer for a connection that nothing waits for. The zero value is
// empty and holds no memory. Everything belongs to the loop that owns the connection.
type Queue struct {
	*lines // borrowed from the loop while anything waits, else nil
}

// lines are the queues of one connection.
type lines struct {
	data, disco fifo
	notice      fifo   // the relay's own frames (PeerGone), see PushNotice
	heavy       heavy  // who pays when data does not fit
	next        *lines // in Loop.idle
}

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool { return q.lines == nil }

// Len returns how many frames wait.
func (q *Queue) Len() int {
	if q.lines == nil {
		return 0
	}
	return q.data.count + q.disco.count + q.notice.count
}

// Bytes returns what waits, headers included.
func (q *Queue) Bytes() int {
	if q.lines == nil {
		return 0
	}
	return q.data.bytes + q.disco.bytes + q.notice.bytes
}

// Full reports whether pushing n more bytes of that kind would drop older frames.
func (q *Queue) Full(l *Loop, k Kind, n int) bool {
	if q.lines == nil {
		return false
	}
	f, limit := q.class(k)
	return f.count >= framesMin && f.bytes+n > l.share(limit)
}

func (q *lines) class(k Kind) (*fifo, int) {
	if k == Disco {
		return &q.disco, discoBytesMax
	}
	return &q.data, dataBytesMax
}

// begin gives an empty queue its lines.
func (q *Queue) begin(l *Loop) {
	if q.lines = l.idle; q.lines == nil {
		q.lines = new(lines)
		return
	}
	l.idle = q.lines.next
	q.lines.next = nil
}

// settle gives the lines back when nothing waits any more.
func (q *Queue) settle(l *Loop) {
	if q.data.count|q.disco.count|q.notice.count == 0 {
		*q.lines = lines{next: l.idle}
		l.idle = q.lines
		q.lines = nil
	}
}

// Push appends a frame and drops those of its class for which there is no room any more: the
// oldest ones of whoever has most in the queue.
func (q *Queue) Push(l *Loop, fr Frame) (d Drops) {
	if q.lines == nil {
		q.begin(l)
	}
	f, limit := q.class(fr.Kind)
	if f.bytes+len(fr.Data) > shareMin { // the usual case costs one comparison
		limit = l.share(limit)
		for f.count >= framesMin && f.bytes+len(fr.Data) > limit {
			if fr.Kind == Data {
				q.bringHeavy()
			}
			old, _ := f.pop(l)
			d.add(&old)
			old.Block.Free(&l.Blocks)
		}
	}
	f.push(l, fr)
	return d
}

// PushNotice queues a frame of the relay's own, held by b, that is due when everything
// queued before it has gone, and that is dropped only with the connection.
func (q *Queue) PushNotice(l *Loop, b *block.Block) {
	if q.lines == nil {
		q.begin(l)
	}
	b.Meta = int64(q.disco.popped) + int64(q.disco.count)
	at := int64(q.data.popped) + int64(q.data.count)
	q.notice.push(l, Frame{Data: b.Buf, Block: b, At: at})
}

// Notices is how many notices wait.
func (q *Queue) Notices() int {
	if q.lines == nil {
		return 0
	}
	return q.notice.count
}

// PopNotice takes the next notice if what was queued before it has gone.
func (q *Queue) PopNotice(l *Loop) (fr Frame, ok bool) {
	if q.lines == nil || q.notice.count == 0 {
		return Frame{}, false
	}
	f := &q.notice
	next := &f.head.frames[f.head.first]
	if next.At > int64(q.data.popped) || next.Block.Meta > int64(q.disco.popped) {
		return Frame{}, false
	}
	fr, ok = f.pop(l)
	q.settle(l)
	return fr, ok
}

func (f *fifo) push(l *Loop, fr Frame) {
	if f.tail == nil {
		f.head = l.chunk()
		f.tail = f.head
	} else if f.tail.end == chunkFrames {
		f.tail.next = l.chunk()
		f.tail = f.tail.next
	}
	f.tail.frames[f.tail.end] = fr
	f.tail.end++
	f.count++
	f.bytes += len(fr.Data)
	if fr.Block == nil || f.borrowed > 0 {
		f.borrowed++
	}
	if fr.Block != nil {
		l.held += fr.memory()
	}
}

func (f *fifo) pop(l *Loop) (Frame, bool) {
	if f.count == 0 {
		return Frame{}, false
	}
	c := f.head
	fr := c.frames[c.first]
	c.frames[c.first] = Frame{}
	c.first++
	if c.first == c.end { // nothing left in it
		f.head = c.next
		if f.head == nil {
			f.tail = nil
		}
		if l.spares < sparesMax {
			*c = chunk{next: l.spare}
			l.spare = c
			l.spares++
		}
	}
	f.count--
	f.popped++
	f.bytes -= len(fr.Data)
	f.borrowed = min(f.borrowed, f.count)
	if fr.Block != nil {
		l.held -= fr.memory()
	}
	return fr, true
}

// Pop takes the next frame of the class. The caller frees its Block.
func (q *Queue) Pop(l *Loop, k Kind) (fr Frame, ok bool) {
	if q.lines == nil {
		return Frame{}, false
	}
	f, _ := q.class(k)
	if fr, ok = f.pop(l); f.count == 0 {
		q.settle(l)
	}
	return fr, ok
}

// Head returns the length of the next frame of the class, 0 if none waits, or none may go
// before a notice that is due ahead of it.
func (q *Queue) Head(k Kind) int {
	if q.lines == nil {
		return 0
	}
	f, _ := q.class(k)
	if f.count == 0 {
		return 0
	}
	if q.notice.count > 0 {
		next := &q.notice.head.frames[q.notice.head.first]
		if k == Disco && int64(f.popped) >= next.Block.Meta ||
			k == Data && int64(f.popped) >= next.At {
			return 0
		}
	}
	return len(f.head.frames[f.head.first].Data)
}

// Expire drops what arrived before the time since.
func (q *Queue) Expire(l *Loop, since int64) (d Drops) {
	if q.lines == nil {
		return d
	}
	q.data.expire(l, since, &d)
	q.disco.expire(l, since, &d)
	q.settle(l)
	return d
}

func (f *fifo) expire(l *Loop, since int64, d *Drops) {
	for f.count > 0 {
		old := &f.head.frames[f.head.first]
		if old.At >= since {
			return
		}
		fr, _ := f.pop(l)
		d.add(&fr)
		fr.Block.Free(&l.Blocks)
	}
}

// Own copies frames that still lie in the receive arena to blocks of their own. It is
// called for every queue that is not empty when a turn ends.
func (q *Queue) Own(l *Loop) {
	if q.lines == nil {
		return
	}
	q.data.own(l)
	q.disco.own(l)
}

func (f *fifo) own(l *Loop) {
	if f.borrowed == 0 {
		return
	}
	skip := f.count - f.borrowed
	for c := f.head; c != nil; c = c.next {
		n := int(c.end - c.first)
		if skip >= n {
			skip -= n
			continue
		}
		for i := int(c.first) + skip; i < int(c.end); i++ {
			fr := &c.frames[i]
			if fr.Block != nil {
				continue
			}
			fr.Block = l.Blocks.Get(len(fr.Data))
			copy(fr.Block.Buf, fr.Data)
			fr.Data = fr.Block.Buf
			l.held += fr.memory()
		}
		skip = 0
	}
	f.borrowed = 0
}

// Clear drops everything that waits; notices vanish without being counted.
func (q *Queue) Clear(l *Loop) (d Drops) {
	if q.lines == nil {
		return d
	}
	var uncounted Drops
	q.data.clear(l, &d)
	q.disco.clear(l, &d)
	q.notice.clear(l, &uncounted)
	q.settle(l)
	return d
}

func (f *fifo) clear(l *Loop, d *Drops) {
	for f.count > 0 {
		fr, _ := f.pop(l)
		d.add(&fr)
		fr.Block.Free(&l.Blocks)
	}
}
