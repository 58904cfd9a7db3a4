"""What picture and video files hold: headers, bands, bit fields, and what decoders say."""
