export { type Capture, CaptureError, LINKTYPE_ETHERNET, type Packet, readCapture, writePcap } from "./pcap.ts";
